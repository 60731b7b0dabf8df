"""What is read of results, and how trials that do not forecast are forecast."""

import math

import numpy as np
import pytest
from hooks import Line

from ray_glocal.forecast import Kind
from ray_glocal.scheduling.event import Reported
from ray_glocal.tune import GlocalScheduler
from ray_glocal.tune.curve import forecast_at
from ray_glocal.tune.reading import Reading, finite, flat_config, number


def test_trials_that_do_not_forecast_are_forecast_at_rungs_only(begin):
    line = Line()
    driver = begin(forecaster=line, max_t=30)
    driver.add("a")
    for step in range(1, 11):
        driver.report("a", step, 100.0 - step)
    assert line.asked == [(3, 27.0), (9, 21.0)]
    means = [e.mean for e in driver.scheduler.ledger.events if isinstance(e, Reported) and e.mean is not None]
    assert means == [70.0, 70.0]


def test_the_ensemble_forecasts_a_decay():
    scheduler = GlocalScheduler("val_loss", "min")
    losses = [(step, 1.0 + 0.8**step) for step in range(20)]
    mean, deviation = forecast_at(scheduler._judge.terms.forecaster, losses, 100)
    assert mean == pytest.approx(1.0, abs=0.05)
    assert deviation >= 0


@pytest.mark.parametrize("losses", [[], [(1, 1.0)], [(1, 1.0), (2, math.nan)], [(1, 1.0), (2, 2.0)]])
def test_no_forecast_where_there_is_nothing_to_go_by(losses):
    assert forecast_at(Line(Kind.SHORT), losses, 9) == (None, None)


@pytest.mark.parametrize(
    ("value", "best", "most"), [(0.9, 0.9, 1.0), (60.0, 60.0, 100.0), (0.9, 60.0, 100.0), (-0.1, 0.9, math.inf)]
)
def test_a_forecast_of_a_share_ends_at_one_or_at_a_hundred_where_anybody_was_above_one(value, best, most):
    assert Reading("val_accuracy", "max").possible(-math.inf, -value, -best) == -most
    assert Reading("val_loss", "max").possible(-math.inf, -value, -best) == -math.inf
    assert Reading("val_loss", "max", bounds=(0.0, 7.0)).possible(-math.inf, -value, -best) == -7.0


def test_what_others_have_reported_tells_if_a_share_is_one_in_a_hundred(begin):
    driver = begin(metric="accuracy", mode="max", forecaster=Line(), max_t=30)
    for trial, values in (("a", (10.0, 20.0, 30.0)), ("b", (0.2, 0.4, 0.6))):
        driver.add(trial)
        for step, value in enumerate(values, 1):
            driver.report(trial, step, 0.0, accuracy=value)
    means = [e.mean for e in driver.scheduler.ledger.events if isinstance(e, Reported) and e.mean is not None]
    assert means == [pytest.approx(-100.0), pytest.approx(-0.6 - 27 * 0.2)]


def test_a_sessions_own_forecast_counts_for_its_own_metric_only():
    result = {"val_loss": 2.0, "acc": 0.5, "forecast/final_loss": 1.0, "forecast/deviation": 0.1, "step": 7}
    assert Reading("val_loss", "min").report("a", result).mean == 1.0
    assert Reading("acc", "max").report("a", result) == Reported("a", 7, -0.5)
    promising = {**result, "potential": 0.25}
    assert Reading("val_loss", "min").report("a", promising).potential == 0.25
    assert Reading("acc", "max").report("a", promising).potential is None, "it is of another metric"
    refused = {**result, "forecast/final_loss": math.nan}
    assert Reading("val_loss", "min").report("a", refused).final == 2.0


def test_numbers_of_any_library_are_read():
    import torch

    assert [number(x) for x in (1, 2.5, np.float32(1), np.int64(3), torch.tensor([4.0]), np.array([5]))] == [
        1.0,
        2.5,
        1.0,
        3.0,
        4.0,
        5.0,
    ]
    assert [number(x) for x in (None, True, "1", [1], torch.zeros(2), object())] == [None] * 6
    assert finite(math.inf) is None


def test_configurations_are_flattened_for_json():
    config = {"a": {"b": 1}, "c": math.nan, "d": int, "e": None, "f": "x"}
    assert flat_config(config) == {"a/b": 1, "c": "nan", "d": "<class 'int'>", "e": None, "f": "x"}
