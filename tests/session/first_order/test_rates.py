"""Learning rates follow their window elasticity: to where an e-fold more of them would gain nothing any more."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ray_glocal.session.first_order.rates import follow, left_alone
from ray_glocal.session.first_order.tuning import (
    DOWN,
    GAIN,
    RAISING_ENDS,
    RATE_ELAPSED_MOST,
    RATES_LEFT_ALONE,
    SMOOTH,
    UP,
)

from .cases import KINDS, kinds_of, memory, observation

SMALL = 0.05  # an elasticity that leads to no limit


def followed(elasticity=-SMALL, before=None, **changed):
    """How far the one rate moves, and what is remembered."""
    move, after = follow(observation((elasticity, 0.5, -0.5), **changed), before or memory(), KINDS)
    assert not move[1:].any(), "only rates move"
    assert np.isnan(after.rate_elasticity[1:]).all()
    return move[0], after


@pytest.mark.parametrize("elasticity", [-0.12, -SMALL, -1e-9, 0.0, 1e-9, SMALL, 0.3])
def test_a_rate_moves_against_its_elasticity_by_the_gain(elasticity):
    move, after = followed(elasticity)
    assert move == pytest.approx(-GAIN * elasticity)
    assert after.rate_elasticity[0] == elasticity


def test_it_moves_by_what_was_felt_lately():
    known, felt = memory(), None
    for elasticity in (-0.05, 0.02, 0.01, -0.03):
        move, known = followed(elasticity, known)
        felt = elasticity if felt is None else SMOOTH * felt + (1 - SMOOTH) * elasticity
        assert known.rate_elasticity[0] == pytest.approx(felt)
        assert move == pytest.approx(-GAIN * felt)


@pytest.mark.parametrize("elapsed", [0.1, 0.5, 1.0, RATE_ELAPSED_MOST])
def test_what_stands_for_more_of_training_moves_by_more(elapsed):
    assert followed(elapsed=elapsed)[0] == pytest.approx(GAIN * elapsed * SMALL)
    assert followed(SMALL, elapsed=elapsed)[0] == pytest.approx(-GAIN * elapsed * SMALL)
    assert followed(-9.0, elapsed=elapsed)[0] == pytest.approx(UP * elapsed)


def test_one_observation_stands_for_so_much_of_training_at_most():
    assert followed(elapsed=20.0)[0] == followed(elapsed=RATE_ELAPSED_MOST)[0]


def test_a_step_up_is_short_and_one_down_is_long():
    assert followed(-9.0)[0] == UP
    assert followed(9.0)[0] == -DOWN
    assert followed(9.0, elapsed=20.0)[0] == -DOWN


@pytest.mark.parametrize("height", [1.0, 0.5, 0.0])
def test_where_a_schedule_stands_low_it_is_raised_by_less_and_lowered_as_ever(height):
    assert followed(height=height)[0] == pytest.approx(GAIN * SMALL * height)
    assert followed(SMALL, height=height)[0] == pytest.approx(-GAIN * SMALL)


@pytest.mark.parametrize(
    ("progress", "up", "down"),
    [
        (RAISING_ENDS - 1e-9, True, True),
        (RAISING_ENDS, False, True),
        (RATES_LEFT_ALONE - 1e-9, False, True),
        (RATES_LEFT_ALONE, False, False),
        (1.0, False, False),
    ],
)
def test_beneath_a_schedule_that_anneals_it_is_first_not_raised_and_then_left_alone(progress, up, down):
    for annealed in (True, False):
        rises, _ = followed(progress=progress, annealed=annealed)
        falls, after = followed(SMALL, progress=progress, annealed=annealed)
        assert rises == pytest.approx(GAIN * SMALL * (up or not annealed))
        assert falls == pytest.approx(-GAIN * SMALL * (down or not annealed))
        assert left_alone(progress=progress, annealed=annealed) == (annealed and progress >= RATES_LEFT_ALONE)
        assert after.rate_elasticity[0] == SMALL, "felt it is all the same"


@pytest.mark.parametrize(("room", "moves"), [(0.02, 0.02), (0.0, 0.0), (-0.5, 0.0), (9.0, GAIN * SMALL)])
def test_it_is_not_raised_above_a_ceiling(room, moves):
    below = memory(ceiling=np.array([-3.0 + room, math.inf, math.inf]))
    line = np.full(3, -3.0)
    assert followed(before=below, line=line)[0] == pytest.approx(moves)
    assert followed(SMALL, before=below, line=line)[0] == pytest.approx(-GAIN * SMALL), "down it may go"


def test_each_of_several_rates_is_worth_as_much_as_one_alone():
    """A rate cut in two groups, each of which is half of the way: both move as the one would."""
    kinds = kinds_of(2, 0, 1)
    halves, after = follow(observation((-SMALL / 2, -SMALL / 2, 1.0)), memory(), kinds)
    assert halves == pytest.approx([GAIN * SMALL, GAIN * SMALL, 0])
    apart, _ = follow(observation((-SMALL / 2, SMALL / 2, 1.0)), memory(), kinds)
    assert apart == pytest.approx([GAIN * SMALL, -GAIN * SMALL, 0]), "each follows its own"
    assert list(np.isnan(after.rate_elasticity)) == [False, False, True]


def test_each_of_several_rates_has_its_own_ceiling():
    before = memory(ceiling=np.array([0.01, math.inf, math.inf]))
    move, _ = follow(observation((-SMALL / 2, -SMALL / 2, 1.0)), before, kinds_of(2, 0, 1))
    assert move == pytest.approx([0.01, GAIN * SMALL, 0])


def test_without_a_rate_nothing_moves():
    move, after = follow(observation((-1.0, 1.0, 1.0)), memory(), kinds_of(0, 1, 2))
    assert not move.any()
    assert np.isnan(after.rate_elasticity).all()


@pytest.mark.parametrize(("elasticity", "moves"), [(math.nan, -DOWN), (math.inf, -DOWN), (-math.inf, UP)])
def test_what_is_no_number_lowers_the_rate_and_one_that_is_huge_is_believed_in_part(elasticity, moves):
    move, after = followed(elasticity)
    assert move == moves
    assert abs(after.rate_elasticity[0]) == 1


def test_it_settles_where_nothing_is_gained_any_more():
    """Where the elasticity is that of a parabola over the rate's logarithm, from either side."""
    for start in (-2.0, 2.0):
        position, known = start, memory()
        for _ in range(60):
            move, known = followed(0.1 * position, known)
            position += move
        assert abs(position) < 0.01


ANY = st.floats(allow_nan=True, allow_infinity=True)


@given(arrays(np.float64, 3, elements=ANY), arrays(np.float64, 3, elements=ANY), st.floats(0, 1), st.floats(0, 99))
def test_any_numbers_lead_to_a_step_within_the_limits(elasticity, felt, progress, elapsed):
    before = memory(rate_elasticity=np.clip(felt, -1, 1))
    for annealed in (True, False):
        seen = observation(elasticity, progress=progress, elapsed=elapsed, annealed=annealed)
        move, after = follow(seen, before, KINDS)
        assert -DOWN <= move[0] <= UP * RATE_ELAPSED_MOST
        assert not move[1:].any()
        assert abs(after.rate_elasticity[0]) <= 1
