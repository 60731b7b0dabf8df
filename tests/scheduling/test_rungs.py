import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.scheduling.tuning import PARTS


def brute_force(grace, factor, top, step):
    milestones = [grace * factor**k for k in range(200) if top is None or grace * factor**k < top]
    return sum(milestone <= step for milestone in milestones) - 1


@given(st.integers(1, 50), st.integers(2, 11), st.none() | st.integers(1, 10**6), st.integers(0, 10**12))
def test_the_ladder_equals_brute_force(grace, factor, top, step):
    assert Ladder(grace, factor, top).rung(step) == brute_force(grace, factor, top, step)


@given(st.integers(1, 9), st.integers(2, 11), st.integers(0, 40))
def test_no_rung_is_lost_at_exact_powers(grace, factor, rung):
    ladder = Ladder(grace, factor)
    milestone = ladder.milestone(rung)
    assert (ladder.rung(milestone), ladder.rung(milestone - 1)) == (rung, rung - 1)


@pytest.mark.parametrize(("top", "factor", "rungs"), [(243, 3, 5), (1000, 10, 3)])
def test_the_ladders_that_float_logarithms_break(top, factor, rungs):
    assert [Ladder(1, factor, top).rung(factor**k) for k in range(rungs)] == list(range(rungs))
    assert Ladder(1, factor, top).rung(top) == rungs - 1


@pytest.mark.parametrize(
    ("factor", "shares"), [(2, [1 / 4, 1 / 2]), (3, [1 / 9, 1 / 3, 2 / 3]), (4, [1 / 16, 1 / 4, 3 / 4])]
)
def test_of_shares_there_is_a_late_rung_if_it_lies_above_the_others(factor, shares):
    ladder = Ladder(PARTS // factor**2, factor, PARTS, PARTS)
    assert ladder.rung(PARTS) == len(shares) - 1
    for rung, share in enumerate(shares):
        assert ladder.milestone(rung) == pytest.approx(share * PARTS)
        assert (ladder.rung(share * PARTS), ladder.rung(0.8 * share * PARTS)) == (rung, rung - 1)


@given(st.integers(0, 10_000), st.integers(2, 10))
def test_a_rung_keeps_one_in_factor_and_never_nobody(population, factor):
    keeps = Ladder(1, factor).keeps(population)
    assert keeps == (population if population < factor else population // factor)
    assert population == 0 or keeps >= 1


@pytest.mark.parametrize(
    ("grace", "factor", "message"),
    [
        (0, 3, "`grace_period` must be a whole number of at least 1; got 0"),
        (1.5, 3, "`grace_period` must be a whole number of at least 1; got 1.5"),
        (math.inf, 3, "`grace_period` must be a whole number"),
        (1, 1, "`reduction_factor` must be a whole number of at least 2; got 1"),
        (1, True, "`reduction_factor` must be a whole number of at least 2; got True"),
    ],
)
def test_a_ladder_of_fractions_is_refused(grace, factor, message):
    with pytest.raises(ArgumentError, match=message):
        Ladder(grace, factor)
