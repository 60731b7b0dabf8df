"""Recorded cases in tables, what is left out of them, and the bootstrap against what it must converge to."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cases import case_of, exploded, load_cases, row_of, scores_by_label, sign_difference
from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.validation.case import Case
from ray_glocal.validation.estimates import estimates


def case(truths, *, run="a", loss=1.0, start=5):
    truths = np.array(truths, dtype=float)
    lag = np.outer(np.linspace(0.5, 1.0, 8), (1.0, 1.0))
    ends = np.full(len(truths), loss)
    empty = np.empty((0, 8, 2))
    return Case(run, {}, ("lr", "wd"), np.ones(2), start, 18, 2 * lag, lag, empty, (), loss, truths, ends)


def saying(mean):
    """An estimator that always says the same."""
    said = Forecast(np.array(mean, dtype=float), np.ones(2), 10, Outcome(Kind.OK, ""))
    return lambda case: said


def whole():
    """A case of which nothing is empty."""
    draw = np.random.default_rng(0)
    return replace(
        case([[1, 2], [3, 4]]),
        about={"task": "by hand"},
        earlier=draw.normal(size=(2, 8, 2)),
        earlier_starts=(1, 3),
        step_sizes=(1e-3,),
        directions=np.eye(2),
        differences=draw.normal(size=(1, 2)),
        rates=np.linspace(1, 0, 23),
    )


def test_cases_survive_a_table(tmp_path):
    made = [whole(), case([[1, 2]], start=14), case([[5, 6]], run="another")]
    (tmp_path / "cells").mkdir()
    for index, part in enumerate((made[:2], made[2:], [])):
        rows = [row_of(each) for each in part]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "cells" / f"{index}.parquet")
    read = load_cases(tmp_path)
    for one, other in zip(read, made, strict=True):
        assert isinstance(one, Case)
        for name, value in vars(other).items():
            assert np.asarray(getattr(one, name)).tolist() == np.asarray(value).tolist(), name
    assert read[2].earlier.shape == (0, 8, 2)
    assert read[2].directions.shape == (0, 2)


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="`folder` must hold parquet files of cases"):
        load_cases(tmp_path)


def test_earlier_recordings_hold_the_loss_in_a_pair():
    told = case([[1, 1]], loss=2.5)
    row = row_of(told)
    assert case_of(row).loss == 2.5
    earlier = {**{name: value for name, value in row.items() if name != "loss"}, "losses": [9.0, 2.5]}
    assert case_of(earlier).loss == 2.5


def test_scores_of_each_hyperparameter():
    found = scores_by_label(estimates(saying((1, -2)), [case([[2, -1]]), case([[1, 4]])]))
    assert list(found) == ["lr", "wd"]
    assert (found["lr"].sign, found["wd"].sign) == (1, 0.5)
    assert (found["lr"].count, found["lr"].error) == (2, 0.25)


@pytest.mark.parametrize(
    ("truths", "told"), [([[1, -99]], False), ([[1, 101]], True), ([[1, 1], [np.nan, 1]], True), ([[1, -1e21]], True)]
)
def test_a_truth_that_explodes_is_told_apart(truths, told):
    assert exploded(case(truths)) is told


def runs(gains, windows=1):
    """Estimates of which the first finds the sign where the gain is 1, the second where it is -1, both at 0."""
    cases = [case([[1, 1]], run=f"run {i}") for i in range(len(gains)) for _ in range(windows)]
    first = estimates(saying((1, 1)), cases)
    signs = np.repeat(np.array(gains, dtype=float), 2 * windows)
    return replace(first, mean=np.where(signs >= 0, 1.0, -1.0)), replace(first, mean=np.where(signs <= 0, 1.0, -1.0))


def test_two_runs_have_three_resamples():
    """The mean of two draws from {1, -1} is -1, 0 or 1, the ends a quarter of the time each."""
    found = sign_difference(*runs([1, -1]))
    assert (found.value, found.low, found.high, found.clear) == (0, -1, 1, False)
    found = sign_difference(*runs([1, 1]))
    assert (found.value, found.low, found.high, found.clear) == (1, 1, 1, True)


def test_the_interval_is_that_of_a_normal_mean_over_many_runs():
    gains = np.random.default_rng(1).choice([-1, 0, 1], 400, p=[0.2, 0.5, 0.3])
    found = sign_difference(*runs(gains), seed=2, draws=8000)
    width = 1.96 * gains.std() / math.sqrt(400)
    assert found.value == pytest.approx(gains.mean())
    assert found.low == pytest.approx(gains.mean() - width, abs=0.1 * width)
    assert found.high == pytest.approx(gains.mean() + width, abs=0.1 * width)
    assert found == sign_difference(*runs(gains), seed=2, draws=8000)


def test_more_windows_of_the_same_runs_say_no_more():
    gains = np.random.default_rng(1).choice([-1, 0, 1], 30)
    assert sign_difference(*runs(gains)) == sign_difference(*runs(gains, windows=9))


def test_estimates_of_other_entries_are_refused():
    told = estimates(saying((1, 1)), [case([[1, 1]])])
    with pytest.raises(ArgumentError, match="`second` must hold the same entries as `first`"):
        sign_difference(told, told.where(told.label == "lr"))
