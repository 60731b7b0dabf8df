"""Scores against sums done by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.window_forecast import window_forecast
from ray_glocal.session import Settings
from ray_glocal.validation.case import Case
from ray_glocal.validation.estimates import OnWindow, Pooled, estimates
from ray_glocal.validation.scores import ceiling, score


def case(truths, *, run="a", local=(1.0, 1.0), loss=1.0, labels=("lr", "wd"), length=8):
    truths = np.array(truths, dtype=float)
    lag = np.outer(np.linspace(0.5, 1.0, length), local)
    empty = np.empty((0, length, len(labels)))
    ends = np.full(len(truths), loss)
    return Case(run, {}, labels, np.ones(2), 5, length + 10, 2 * lag, lag, empty, (), loss, truths, ends)


def saying(mean, deviation=(1.0, 1.0)):
    """An estimator that always says the same."""
    said = Forecast(np.array(mean, dtype=float), np.array(deviation, dtype=float), 10, Outcome(Kind.OK, ""))
    return lambda case: said


def refusing(case):
    return Forecast.refused(2, 10, Kind.SHORT, "")


def test_scores_by_hand():
    # Entries: estimates 1 and -2 each time; truths (2, -1), (1, 4), (4, -4).
    cases = [case([[2, -1]]), case([[1, 4]]), case([[3, -4], [5, -4]])]
    found = score(estimates(saying((1, -2), (0.7, 1.0)), cases))
    assert found.count == 6
    assert found.answered == 1
    assert found.sign == pytest.approx(5 / 6)
    cosines = [4 / 5, -7 / math.sqrt(85), 12 / math.sqrt(5 * 32)]
    assert found.cosine == pytest.approx(np.mean(cosines))
    errors = [1 / 2, 1, 1e-6, 6 / 4, 3 / 4, 2 / 4]
    assert found.error == pytest.approx(np.median([1 / 2, 1, 0, 6 / 4, 3 / 4, 2 / 4]))
    assert found.error_mean == pytest.approx(np.exp(np.mean(np.log(errors))))
    # Off by 1, 1, 0, 6, 3 and 2, where 1.645 deviations are 1.15 and 1.64.
    assert found.coverage == pytest.approx(3 / 6)


def test_the_gate_decides_what_is_acted_on():
    # lr at 2 deviations, wd at 0.7 of them; but against the local value of the second case.
    cases = [case([[1, -1]], local=(1, 1)), case([[-1, 1]], local=(-1, 1))]
    found = score(estimates(saying((1, 0.7), (0.5, 1)), cases))
    assert (found.act, found.act_small, found.acted) == (1 / 4, 2 / 4, 3 / 4)
    assert found.acted_sign == pytest.approx(2 / 3)
    strict = score(estimates(saying((1, 0.7), (0.5, 1)), cases), Settings(act=9.0, act_small=8.0))
    assert strict.acted == 0
    assert math.isnan(strict.acted_sign)


def test_a_loss_turns_a_hypergradient_into_the_elasticity_that_is_judged():
    small = score(estimates(saying((1e-3, 1e-3), (1e-9, 1e-9)), [case([[1, 1]], loss=100.0)]))
    assert small.acted == 0  # in the dead band of 1e-4


def test_a_refusal_counts_as_a_wrong_sign_and_as_no_error():
    found = score(estimates(refusing, [case([[1, 2]])]))
    assert (found.answered, found.sign, found.acted) == (0, 0, 0)
    assert all(math.isnan(value) for value in (found.error, found.error_mean, found.coverage, found.cosine))


def test_entries_without_a_true_sign_are_left_out():
    told = estimates(saying((1, 1)), [case([[0.0, 2]]), case([[np.inf, -1]]), case([[np.nan, 3]])])
    assert told.label.tolist() == ["wd"] * 3
    assert told.truth.tolist() == [2, -1, 3]


def test_a_forecaster_sees_one_trajectory_of_the_window():
    given = case([[1, 1]])
    for kind, factor in (("lag", 1), ("forward", 2)):
        assert OnWindow(forecaster("last"), kind)(given).mean.tolist() == [factor, factor]
        assert OnWindow(forecaster("last"), kind)(given).horizon == 10


def test_windows_are_pooled_in_flow_time():
    """Each lies where it lies in training, and its effect lasts to the end."""
    lags = [np.outer(np.arange(1.0, 9.0) ** power, [1.0, -1.0]) for power in (0.5, 0.7)]
    rates = np.linspace(1, 0, 33)
    given = replace(
        case([[1, -1]]), start=15, lag=lags[1], earlier=np.array(lags[:1]), earlier_starts=(3,), rates=rates
    )
    seen = [
        window_forecast(forecaster("affine"), own, rates[start : start + 8], rates[start:].sum(), rates[:start].sum())
        for own, start in zip(lags, (3, 15), strict=True)
    ]
    np.testing.assert_array_equal(Pooled(forecaster("affine"))(given).mean, pooled(seen).mean)
    steady = replace(given, rates=np.empty(0))
    assert steady.flow.tolist() == [1.0] * 33
    assert Pooled(forecaster("affine"))(steady).mean.tolist() != pooled(seen).mean.tolist()


def test_the_ceiling_is_how_often_futures_agree():
    assert ceiling([case([[1, 2], [1, -1], [1, 2]])]) == pytest.approx(5 / 6)  # the odd one out is foretold wrongly
    assert ceiling([case([[1, 1], [1, 1]]), case([[1, -1], [1, 1]])]) == pytest.approx(3 / 4)
    assert math.isnan(ceiling([case([[1, 1]])]))


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ArgumentError, match="`cases` must hold at least one case"):
        estimates(saying((1, 1)), [])
    told = estimates(saying((1, 1)), [case([[1, 1]])])
    with pytest.raises(ArgumentError, match="`estimates` must hold at least one entry"):
        score(told.where(told.label == "beta1"))
