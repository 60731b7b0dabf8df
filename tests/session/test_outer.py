"""The outer step and what it promises: pure functions, held to their definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.windows.gate import judge
from ray_glocal.session.windows.outer import Axes, OuterState, Standing, learn, move, restrain
from ray_glocal.session.windows.tuning import DECAY_SHARE, GROW, PENALTY_SHARE, SHRINK

from .outer import ANY, AXES, DEFAULT, bought, state

FINITE = st.floats(allow_nan=False, allow_infinity=False)
THREE = arrays(np.float64, 3, elements=ANY)


@given(THREE, THREE, THREE, ANY, st.booleans())
def test_any_numbers_give_a_finite_step_without_a_warning(elasticity, deviation, promised, loss, searching):
    deviation = np.abs(deviation)
    before = replace(OuterState.start(AXES, DEFAULT), searching=searching)
    usable = bool(np.isfinite(elasticity).all() and np.isfinite(deviation).all())
    outcome = Outcome(Kind.OK if usable else Kind.NONFINITE, "")
    with np.errstate(all="ignore"):
        after = learn(before, Forecast(elasticity, deviation, 10.0, outcome), loss)
    verdicts = restrain(judge(after.elasticity, after.deviation, promised, DEFAULT), after, AXES, Standing(0.5, False))
    displacement, last = move(after, verdicts, AXES, promised, DEFAULT)
    assert np.isfinite(displacement).all()
    assert np.isfinite(last.trust).all()
    assert bought(last, loss, 3) >= 0


@given(arrays(np.float64, 3, elements=st.floats(-1e9, 1e9)), arrays(np.float64, 3, elements=st.floats(-1e6, 1e6)))
def test_a_step_never_promises_more_than_it_may(elasticity, promised):
    """Neither an entry nor all of them together, in the first-order model of the window."""
    for searching in (False, True):
        before = state(elasticity, np.full(3, 1e-3), searching=searching)
        verdicts = judge(before.elasticity, before.deviation, promised, DEFAULT)
        displacement, _ = move(before, verdicts, AXES, promised, DEFAULT)
        assert np.sum(np.abs(displacement * promised)) <= DEFAULT.promise * (1 + 1e-9)
        assert np.all(displacement * elasticity <= 0), "a step goes down"
        assert np.all(np.abs(displacement) <= max(DEFAULT.trust_limits[1], DEFAULT.search_region))


def test_many_small_promises_are_added_up():
    """A weighting network's thousand entries move together: it is their sum that must be believed."""
    count = 1000
    axes = Axes(*np.zeros((3, count), bool), np.full(count, count))
    before = replace(OuterState.start(axes, DEFAULT), elasticity=np.full(count, 0.01), deviation=np.full(count, 1e-5))
    verdicts = judge(before.elasticity, before.deviation, np.full(count, 0.01), DEFAULT)
    displacement, _ = move(before, verdicts, axes, np.full(count, 0.01), DEFAULT)
    assert np.sum(np.abs(displacement) * 0.01) == pytest.approx(DEFAULT.promise)
    assert np.ptp(displacement) == 0


def moved(before, elasticity):
    """A clear step down `elasticity` where nothing promises too much."""
    known = replace(before, elasticity=np.array(elasticity), deviation=np.full(3, 1e-6))
    verdicts = judge(known.elasticity, known.deviation, known.elasticity, DEFAULT)
    return move(known, verdicts, AXES, np.full(3, 1e-9), DEFAULT)


def test_the_trust_region_grows_along_a_heading_and_shrinks_where_it_turns():
    first, after = moved(state(), [-0.1, 0.1, 0.1])
    reach = np.array([1.0, DECAY_SHARE, PENALTY_SHARE])
    np.testing.assert_allclose(first, DEFAULT.trust_region * reach * [1, -1, -1], rtol=1e-6)
    second, after = moved(after, [-0.1, -0.1, 0.1])
    np.testing.assert_allclose(second, DEFAULT.trust_region * reach * [GROW, SHRINK, -GROW], rtol=1e-6)
    held, after = moved(after, [0.0, 0.0, 0.0])
    assert not held.any()
    third, after = moved(after, [-0.1, -0.1, -0.1])
    np.testing.assert_allclose(third, DEFAULT.trust_region * reach * [GROW**2, SHRINK * GROW, GROW * SHRINK], rtol=1e-6)
    for _ in range(20):
        longest, after = moved(after, [-0.1, -0.1, -0.1])
    np.testing.assert_allclose(longest, DEFAULT.trust_limits[1] * reach, rtol=1e-6)
    for turn in range(20):
        shortest, after = moved(after, np.full(3, -0.1 if turn % 2 else 0.1))
    np.testing.assert_allclose(np.abs(shortest), DEFAULT.trust_limits[0] * reach, rtol=1e-6)


HYPER = (
    Hyperparameter("lr", 0.1, 1e-3, 1.0, "log"),
    Hyperparameter("momentum", 0.9, 0.1, 0.99, "logit"),
    Hyperparameter("weight_decay", 0.0, 0.0, 0.1, "identity"),
)


@settings(max_examples=50)
@given(st.lists(arrays(np.float64, 3, elements=st.floats(-1e3, 1e3)), min_size=1, max_size=30), st.booleans())
def test_bounds_are_never_left(path, searching):
    model = nn.Linear(1, 1)
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m, b: 0, lambda m, b: 0, HYPER)
    axes, values = Axes.of(problem), problem.start_values()
    outer = replace(OuterState.start(axes, DEFAULT), searching=searching)
    for elasticity in path:
        outer = replace(outer, elasticity=elasticity, deviation=np.full(3, 1e-3))
        verdicts = judge(outer.elasticity, outer.deviation, elasticity, DEFAULT)
        displacement, outer = move(outer, verdicts, axes, elasticity * 1e-3, DEFAULT)
        values = problem.to_values(problem.to_line(values) + torch.from_numpy(displacement))
        for hyper in HYPER:
            assert hyper.lower <= float(values[hyper.name]) <= hyper.upper


def test_a_window_without_a_usable_forecast_teaches_nothing():
    before = state()
    for forecast, loss in (
        (Forecast.refused(3, 9.0, Kind.SHORT, "too short"), 1.0),
        (Forecast(np.ones(3), np.ones(3), 9.0, Outcome(Kind.OK, "")), 0.0),
        (Forecast(np.ones(3), np.ones(3), 9.0, Outcome(Kind.OK, "")), math.nan),
    ):
        after = learn(before, forecast, loss)
        assert np.isinf(after.deviation).all()
        assert (after.elasticity == before.elasticity).all()
        assert bought(after, 1.0, 9) == 0
    known = learn(before, Forecast(np.array([2.0, 4, 6]), np.ones(3), 9.0, Outcome(Kind.OK, "")), 2.0)
    assert list(known.elasticity) == [1, 2, 3]
    assert list(known.deviation) == [0.5] * 3
    for _ in range(9):
        known = learn(known, Forecast(np.ones(3), np.ones(3), 9.0, Outcome(Kind.OK, "")), 2.0)
    assert known.losses == (2.0,) * 4


@given(arrays(np.float64, 3, elements=FINITE), THREE, st.floats(0, 1e9), st.integers(-1, 100))
def test_the_potential_lies_between_nothing_and_the_loss(elasticity, deviation, loss, left):
    found = bought(state(elasticity, np.abs(deviation)), loss, left)
    assert 0 <= found <= loss
    if left <= 0:
        assert found == 0


def test_the_potential_by_hand():
    outer = state((0.1, -0.2, 0.0), (0.1, math.inf, 1.0))
    assert bought(outer, 2.0, 3) == pytest.approx(2.0 * 0.1 * 0.5 * DEFAULT.trust_region * 3)
    assert bought(outer, -2.0, 3) == 0
    assert bought(outer, math.inf, 3) == 0


def test_the_memory_survives_as_plain_data():
    outer = state(losses=(1.0, 2.0), idle=1)
    again = OuterState.from_plain(outer.as_plain())
    for name, value in vars(outer).items():
        np.testing.assert_array_equal(value, getattr(again, name))
