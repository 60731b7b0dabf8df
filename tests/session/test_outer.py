"""The gate, the outer step and what they promise: pure functions, held to their definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.curve import forecast_final_loss
from ray_glocal.session.pacing.cost import Cost, window_steps
from ray_glocal.session.pacing.timetable import DutyCycle
from ray_glocal.session.windows.gate import CAUSES, Cause, Gate, Verdicts, judge
from ray_glocal.session.windows.outer import (
    Axes,
    OuterState,
    Standing,
    learn,
    move,
    potential,
    raised_from_cold,
    restrain,
    search,
)
from ray_glocal.session.windows.recorder import Recorder
from ray_glocal.session.windows.tuning import (
    CEILING,
    COLD,
    DECAY_SHARE,
    GROW,
    HEADING_MEMORY,
    IDLE,
    LONG,
    PENALTY_SHARE,
    SHRINK,
)

from .cases import windows

DEFAULT = windows()
AXES = Axes(*np.eye(3, dtype=bool), np.ones(3, int))  # lr, momentum, weight_decay


def state(elasticity=(0.1, 0.1, 0.1), deviation=(0.01, 0.01, 0.01), **changed):
    fresh = replace(OuterState.start(AXES, DEFAULT), searching=False)
    return replace(fresh, elasticity=np.array(elasticity), deviation=np.array(deviation), **changed)


def bought(outer, loss, left, vectors=()):
    """What an outer step still has in store for so many windows."""
    return potential(outer.elasticity, outer.deviation, outer.trust, loss, left, vectors)


def judged(elasticity, deviation, local, settings=DEFAULT):
    return judge(np.array([elasticity]), np.array([deviation]), np.array([local]), settings)


@pytest.mark.parametrize(
    ("elasticity", "deviation", "local", "cause", "answer", "sentence"),
    [
        (0.2, 0.1, 1.0, Cause.CLEAR, Gate.ACT, "elasticity +0.2 at 2 deviations"),
        (-0.2, 0.2, -1.0, Cause.CLEAR, Gate.ACT, "elasticity -0.2 at 1 deviations"),
        (0.2, 0.4, 1.0, Cause.FAINT, Gate.ACT_SMALL, "elasticity +0.2 at only 0.5 deviations"),
        (0.2, 0.5, 1.0, Cause.NOISE, Gate.HOLD, "elasticity +0.2 drowns in noise (0.4 deviations)"),
        (1e-3, 1e-9, 1.0, Cause.DEAD_BAND, Gate.HOLD, "elasticity +0.001 lies in the dead band"),
        (0.2, 0.1, -1e-9, Cause.CONTRADICTED, Gate.HOLD, "elasticity +0.2 contradicts the local hypergradient"),
        (math.nan, 0.1, 1.0, Cause.UNKNOWN, Gate.HOLD, "no usable forecast"),
        (0.2, math.inf, 1.0, Cause.UNKNOWN, Gate.HOLD, "no usable forecast"),
        (0.2, 0.0, 1.0, Cause.CLEAR, Gate.ACT, "elasticity +0.2 at 1e+12 deviations"),
    ],
)
def test_the_gate_gives_every_answer_with_its_sentence(elasticity, deviation, local, cause, answer, sentence):
    verdicts = judged(elasticity, deviation, local)
    assert CAUSES[verdicts.cause[0]] is cause
    assert (verdicts.answer(0), verdicts.reason(0)) == (answer, sentence)
    assert (verdicts.share[0] > 0) == (answer is not Gate.HOLD)


@given(st.floats(1e-2, 1e3), st.floats(1e-3, 1e3))
def test_the_granted_share_is_whole_where_it_acts_and_else_the_shrinkage(elasticity, deviation):
    ratio = elasticity / deviation
    share = judged(elasticity, deviation, 1.0).share[0]
    small = ratio**2 / (1 + ratio**2) if ratio >= DEFAULT.act_small else 0.0
    assert share == pytest.approx(1.0 if ratio >= DEFAULT.act else small)


ANY = st.floats(allow_nan=True, allow_infinity=True)
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


# ---- hyperparameters of several entries ----

PAIR = Axes(np.array([True, False, False]), *np.zeros((2, 3), bool), np.array([1, 2, 2]))  # lr, and a vector of two


def paired():
    return replace(OuterState.start(PAIR, DEFAULT), searching=False)


def stepped(before, elasticity, axes=PAIR, noise=1e-6):
    """One window whose elasticities are clear."""
    slopes = np.array(elasticity)
    known = replace(before, elasticity=slopes, deviation=np.full(len(slopes), noise))
    verdicts = judge(slopes, known.deviation, slopes, DEFAULT, None, axes.vectors)
    return move(known, verdicts, axes, np.full(len(slopes), 1e-12), DEFAULT)


def test_the_axes_know_what_is_a_vector():
    hyper = [
        Hyperparameter("lr", 0.1, 1e-3, 1.0, "log"),
        Hyperparameter("weights", torch.ones(2, 3)),
        Hyperparameter("shift", 0.0),
        Hyperparameter("offsets", torch.zeros(4)),
    ]
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    axes = Axes.of(Problem(model, optimizer, lambda m, b, h: 0, lambda m, b: 0, hyper))
    assert axes.vectors == (slice(1, 7), slice(8, 12))
    assert list(np.flatnonzero(axes.rates)) == [0]


FEW = arrays(np.float64, 4, elements=st.integers(-10, 10))


@given(FEW, FEW)
def test_a_vector_is_judged_by_its_length_and_its_angle(slopes, local):
    deviation = np.array([1.0, 2.0, 3.0, 4.0])
    size, noise = 2 * np.linalg.norm(slopes), 2 * np.linalg.norm(deviation)  # along it, at a root mean square of one
    joint = judge(slopes, deviation, local, DEFAULT, None, (slice(0, 4),))
    cosine = slopes @ local
    assume(cosine != 0 or not slopes.any() or not local.any())  # rounding decides about a right angle
    single = judge(np.array([size]), np.array([noise]), np.array([cosine]), DEFAULT)
    assert set(joint.cause) == set(single.cause)
    np.testing.assert_allclose(joint.share, single.share[0], rtol=1e-9)
    np.testing.assert_allclose(joint.elasticity, size, rtol=1e-9)


def test_a_vector_is_held_to_the_dead_band_as_one():
    """What a move of all entries by about one unit changes."""
    for share, cause in ((0.9, Cause.DEAD_BAND), (1.1, Cause.CLEAR)):
        slopes = np.full(4, share * DEFAULT.dead_band / 4)
        assert CAUSES[judge(slopes, slopes / 9, slopes, DEFAULT, None, (slice(0, 4),)).cause[0]] is cause
    assert not AXES.band(DEFAULT, searching=True).any()
    assert list(AXES.band(DEFAULT, searching=False)) == [DEFAULT.dead_band] * 3


def test_a_vector_moves_where_each_of_its_entries_drowns():
    """A hundred entries at a ratio of .4 each would all be held; one clear entry among noise is not enough."""
    slopes, deviation, whole = np.full(100, 4e-3), np.full(100, 1e-2), (slice(0, 100),)
    assert not judge(slopes, deviation, slopes, DEFAULT).share.any()
    bolder = judge(np.sqrt(2) * slopes, deviation, slopes, DEFAULT, None, whole)
    assert np.all(bolder.share > 0)
    slopes[:] = 0
    slopes[0] = 0.04
    assert not judge(slopes, deviation, slopes, DEFAULT, None, whole).share.any()


def test_a_vector_goes_down_its_hypergradient_and_not_its_signs():
    displacement, after = stepped(paired(), [-0.1, -0.3, 0.4])
    ratio = displacement[2] / displacement[1]
    assert ratio == pytest.approx(-4 / 3)
    assert displacement[0] == pytest.approx(DEFAULT.trust_region), "an entry of its own keeps its sign step"
    size = np.sqrt(np.mean(displacement[1:] ** 2))
    assert size == pytest.approx((1 - HEADING_MEMORY) * DEFAULT.trust_region), (
        "the first window is one of several to come"
    )
    for _ in range(60):
        displacement, after = stepped(after, [-0.1, -0.3, 0.4])
    assert np.sqrt(np.mean(displacement[1:] ** 2)) == pytest.approx(DEFAULT.trust_limits[1], rel=1e-6)
    assert displacement[2] / displacement[1] == pytest.approx(ratio)


def test_in_a_vector_noise_cancels_and_what_persists_adds_up():
    noise = np.random.default_rng(0)
    axes = Axes(*np.zeros((3, 100), bool), np.full(100, 100))
    outer = OuterState.start(axes, DEFAULT)
    for _ in range(200):
        slopes = noise.normal(0, 0.02, 100)
        slopes[:10] += 0.02
        _, outer = stepped(outer, slopes, axes)
    signal, rest = outer.heading[:10], outer.heading[10:]
    assert np.all(signal < 0)
    assert abs(signal.mean()) > 1.5 * np.sqrt(np.mean(rest**2))


def test_the_trust_region_of_a_vector_follows_the_angle():
    _, first = stepped(paired(), [-0.1, 0.3, 0.4])
    for slopes, factor in (
        ([-0.1, 0.6, 0.8], GROW),
        ([-0.1, -0.4, 0.3], 1.0),
        ([-0.1, -0.3, -0.4], SHRINK),
        ([-0.1, 0.5, 0.0], GROW**0.6),
    ):
        _, after = stepped(first, slopes)
        np.testing.assert_allclose(after.trust[1:], first.trust[1] * factor, rtol=1e-9)
        assert after.trust[0] == first.trust[0] * GROW


VECTOR = arrays(np.float64, 5, elements=st.floats(-1e6, 1e6))


@given(st.lists(VECTOR, min_size=1, max_size=8), VECTOR)
def test_a_vector_always_goes_down_and_promises_no_more_than_it_may(path, promised):
    axes = Axes(*np.zeros((3, 5), bool), np.array([3, 3, 3, 2, 2]))
    outer = OuterState.start(axes, DEFAULT)
    for slopes in path:
        outer = replace(outer, elasticity=slopes, deviation=np.full(5, 1e-6))
        verdicts = judge(slopes, outer.deviation, slopes, DEFAULT, None, axes.vectors)
        displacement, outer = move(outer, verdicts, axes, promised, DEFAULT)
        for vector in axes.vectors:
            assert displacement[vector] @ slopes[vector] <= 0
            assert np.sqrt(np.mean(displacement[vector] ** 2)) <= DEFAULT.trust_limits[1] * (1 + 1e-9)
        assert np.sum(np.abs(displacement * promised)) <= DEFAULT.promise * (1 + 1e-9)


@given(arrays(np.float64, 4, elements=ANY), arrays(np.float64, 4, elements=ANY), arrays(np.float64, 4, elements=ANY))
def test_any_numbers_in_a_vector_give_a_finite_step_without_a_warning(elasticity, deviation, promised):
    axes = Axes(*np.zeros((3, 4), bool), np.full(4, 4))
    before = replace(OuterState.start(axes, DEFAULT), elasticity=elasticity, deviation=np.abs(deviation))
    verdicts = judge(elasticity, before.deviation, promised, DEFAULT, None, axes.vectors)
    displacement, after = move(before, verdicts, axes, promised, DEFAULT)
    assert np.isfinite(displacement).all()
    assert np.isfinite(after.trust).all()
    assert np.isfinite(after.heading).all()
    assert 0 <= bought(after, 1.0, 3, axes.vectors) <= 1


def test_what_stands_alone_moves_as_if_there_were_no_vectors():
    """Bit for bit."""
    path = np.random.default_rng(1).normal(0, 0.1, (40, 3))
    alone, beside = paired(), paired()
    for slopes in path:
        first, alone = stepped(alone, slopes, replace(PAIR, sizes=np.ones(3, int)))
        second, beside = stepped(beside, slopes)
        assert first[0] == second[0]
        assert alone.trust[0] == beside.trust[0]
        assert abs(first[0]) in (0, alone.trust[0] * judge(slopes, np.full(3, 1e-6), slopes, DEFAULT).share[0])


def test_the_potential_of_a_vector_is_that_of_its_length():
    slopes = np.array([0.1, 0.3, 0.4])
    outer = replace(paired(), elasticity=slopes, deviation=slopes)
    distance = DEFAULT.trust_region * math.sqrt(2)  # of two entries at a root mean square of one trust region
    first, pair = 0.1 * 0.5 * DEFAULT.trust_region, 0.5 * 0.5 * distance
    assert bought(outer, 1.0, 1, PAIR.vectors) == pytest.approx(first + pair)


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


def test_the_search_moves_the_rate_alone_and_by_long_steps():
    searching = state((-0.01, -0.01, -0.01), (1e-6, 1e-6, 1e-6), searching=True)
    band = AXES.band(DEFAULT, searching=True)
    verdicts = judge(searching.elasticity, searching.deviation, searching.elasticity, DEFAULT, band)
    verdicts = restrain(verdicts, searching, AXES, Standing(0.0, False))
    displacement, after = move(searching, verdicts, AXES, searching.elasticity, DEFAULT)
    np.testing.assert_allclose(displacement, [DEFAULT.search_region, 0, 0], rtol=1e-6)
    assert after.searching
    assert verdicts.reason(1) == "waits until the learning rate's order of magnitude is found"


def searched(outer, elasticity, room=math.inf):
    """One window of the search, with a noise of a third."""
    slopes = np.array([elasticity, 0.0, 0.0])
    outer = replace(outer, elasticity=slopes, deviation=np.abs(slopes) / 3 + 1e-12)
    band = AXES.band(DEFAULT, searching=True)
    verdicts = judge(outer.elasticity, outer.deviation, slopes, DEFAULT, band)
    displacement, outer = move(outer, verdicts, AXES, slopes, DEFAULT)
    came = np.clip(displacement, -math.inf, room)
    return came[0], search(outer, came, AXES, DEFAULT)


def test_the_search_ends_where_no_step_is_left():
    outer = state(searching=True)
    for _ in range(IDLE):
        assert outer.searching
        _, outer = searched(outer, 0.0)
    assert not outer.searching
    assert not outer.forget(AXES, DEFAULT, np.zeros(3)).searching
    assert not outer.heading.any()


@pytest.mark.parametrize("slope", [0.01, 1e-3])
def test_the_search_ends_at_an_optimum_however_flat(slope):
    """Long steps over the optimum and back would go on for ever."""
    position, outer, windows = -9.0, state(searching=True), 0
    while outer.searching:
        step, outer = searched(outer, slope * position)
        position += step
        windows += 1
        assert windows < 60
    assert abs(position) < DEFAULT.search_region


def test_the_search_does_not_stay_where_a_rate_does_next_to_nothing():
    line, noise = np.zeros(3), np.array([0.5, -0.3, 0.2]) * COLD
    cold = raised_from_cold(state(searching=True), np.zeros(3), AXES, line, noise, DEFAULT)
    assert list(cold) == [DEFAULT.search_region, 0, 0]
    assert not raised_from_cold(state(searching=True), np.zeros(3), AXES, line, 3 * noise, DEFAULT).any()
    assert not raised_from_cold(state(), np.zeros(3), AXES, line, noise, DEFAULT).any(), "only in the search"
    assert not raised_from_cold(state(searching=True), np.zeros(3), AXES, line, noise * math.nan, DEFAULT).any()
    onward = np.array([0.4, 0.0, 0.0])
    assert np.array_equal(raised_from_cold(state(searching=True), onward, AXES, line, noise, DEFAULT), onward)
    blind = state(deviation=(math.inf,) * 3, searching=True)
    assert not raised_from_cold(blind, np.zeros(3), AXES, line, noise, DEFAULT).any(), "an unusable window says nothing"
    lost = replace(state(searching=True), ceiling=np.full(3, 0.5 - CEILING))
    assert raised_from_cold(lost, np.zeros(3), AXES, line, noise, DEFAULT)[0] == pytest.approx(0.5 - CEILING)


def test_the_search_ends_at_a_bound():
    outer, room = state(searching=True), 5.0
    for _ in range(4 + IDLE):
        step, outer = searched(outer, -0.01, room)
        room -= step
    assert room == 0
    assert not outer.searching


@pytest.mark.parametrize("elasticity", [-0.1, -1e-5])
def test_a_search_in_one_direction_goes_on_however_little_it_seems_to_matter(elasticity):
    outer = state(searching=True)
    for _ in range(30):
        step, outer = searched(outer, elasticity)
        assert step >= LONG * DEFAULT.search_region
    assert outer.searching


def test_nothing_is_searched_for_without_a_learning_rate():
    assert not OuterState.start(
        Axes(*np.array([[False] * 2, [True] * 2, [False] * 2]), np.ones(2, int)), DEFAULT
    ).searching


CLEAR = Verdicts(np.zeros(3, np.intp), np.ones(3), np.full(3, 0.1), np.full(3, 9.0))


@pytest.mark.parametrize(
    ("losses", "remaining", "elasticity", "waits"),
    [
        ((1.0, 1.0, 1.0, 1.0), 0.9, 0.1, [True, True, False]),
        ((1.0, 1.0, 1.0, 1.0), 0.9, -0.1, [False, False, False]),  # only a cut waits
        ((1.0, 1.0, 1.3, 1.2), 0.9, 0.1, [False, False, False]),  # the loss rises
        ((1.0, 1.0, 1.0, 1.0), 0.2, 0.1, [False, False, False]),  # the end is near
        ((1.0, 1.0, 1.0), 0.9, 0.1, [False, False, False]),  # too early to say
        ((1.0, 1.0, 1.0, math.nan), 0.9, 0.1, [True, True, False]),
    ],
)
def test_a_cut_waits_while_the_loss_does_not_rise(losses, remaining, elasticity, waits):
    outer = state((elasticity,) * 3, losses=losses)
    verdicts = restrain(CLEAR, outer, AXES, Standing(1 - remaining, annealed=False))
    annealed = restrain(CLEAR, outer, AXES, Standing(1 - remaining, annealed=True))
    late = remaining == 0.2
    assert list(annealed.share == 0) == ([True, True, False] if late else waits), "the schedule sees to the end"
    assert list(verdicts.share == 0) == waits
    if waits[0]:
        assert verdicts.reason(0) == "elasticity +0.1, but a cut can wait while the loss does not rise"


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


# ---- the duty cycle ----


@given(st.integers(4, 12), st.floats(0.1, 1.0), st.integers(1, 400))
def test_the_duty_cycle_is_what_the_settings_say(window, duty, total):
    settings = windows(window=window, duty_cycle=duty)
    timetable = DutyCycle(settings, total)
    recorder, recorded, ends = Recorder(settings, timetable), 0, []
    for step in range(total):
        left = timetable.hypergradients_left(step)
        if recorder.wants(step, searching=False):
            recorder.snapshots.append(step)
            recorded += 1
        if recorder.full(searching=False):
            ends.append(step + 1)
            assert recorder.snapshots == list(range(step + 1 - window, step + 1)), "steps that follow each other"
            recorder.drop()
            assert timetable.hypergradients_left(step + 1) == left - 1
    assert not recorder.snapshots, "no window straddles the end"
    assert timetable.hypergradients_left(0) == len(ends)
    assert all(end < total and end % settings.period == 0 for end in ends)
    whole = (total - 1) // settings.period
    assert recorded == whole * window
    if whole:
        assert recorded / (whole * settings.period) == pytest.approx(duty, rel=0.5 / (window / duty - 0.5) + 1e-9)


@given(st.integers(4, 9), st.integers(1, 40))
def test_search_windows_follow_each_other(length, total):
    settings = windows(search_window=length, duty_cycle=0.5)
    recorder, count = Recorder(settings, DutyCycle(settings, total)), 0
    for step in range(total):
        if recorder.wants(step, searching=True):
            recorder.snapshots.append(step)
        if recorder.full(searching=True):
            count += 1
            recorder.drop()
    assert not recorder.snapshots
    assert count == (total - 1) // length


# ---- the curve and the cost ----


def test_the_final_loss_is_foretold_from_the_curve():
    decay = [0.1 + 2.0 * 0.8**k for k in range(30)]
    foretold = forecast_final_loss(decay, 10)
    assert foretold.mean[0] == pytest.approx(0.1, abs=0.01)
    assert abs(foretold.mean[0] - 0.1) < foretold.deviation[0]
    assert forecast_final_loss([-v for v in decay], 10).mean[0] == pytest.approx(-foretold.mean[0])
    assert forecast_final_loss([1.0, math.nan], 10).outcome.sentence == "a reported loss is not finite"
    assert not forecast_final_loss([1.0], 10).outcome.usable


def test_costs_are_counted():
    cost = Cost()
    assert cost.metrics() == {"cost/steps": 0, "cost/seconds": 0, "cost/share": 0, "cost/overhead": 0}
    cost = Cost(plain_steps=2, extra_steps=5, plain_seconds=3, extra_seconds=1)
    assert cost.metrics() == {"cost/steps": 7, "cost/seconds": 4, "cost/share": 0.25, "cost/overhead": 1 / 3}
    assert window_steps("adjoint", 10, 10, 1000, 4) == 34
    assert window_steps("adjoint", 10, 0, 1000, 4) == 24
    assert window_steps("forward", 10, 10, 2, 4) == 90
