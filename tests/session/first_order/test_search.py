"""The search for the learning rate: it goes up by factors for as long as training goes the right way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.session.answer import Gate
from ray_glocal.session.first_order.search import search
from ray_glocal.session.first_order.tuning import BACK, FAINTEST, GROWTH, ONWARD, PEAK, SEARCH_MOST, WORSE

from .cases import KINDS, kinds_of, memory, observation

WAITS = "waits until the learning rate's order of magnitude is found"
ON = "window elasticity -0.1 at a loss of 1: the search raises it"


def searched(elasticity=-0.1, lowest=math.inf, top=False, **changed):
    before = memory(searching=True, lowest=lowest)
    return search(observation((elasticity, 0.3, -0.3), **changed), before, KINDS, top)


def test_it_goes_on_downhill():
    found = searched()
    assert list(found.move) == [math.log(GROWTH), 0, 0]
    assert found.memory.searching
    assert [found.answer(place) for place in range(3)] == [Gate.ACT, Gate.HOLD, Gate.HOLD]
    assert [found.reason(place) for place in range(3)] == [ON, WAITS, WAITS]


@pytest.mark.parametrize("elasticity", [-1e-12, -3.0, -math.inf])
def test_it_goes_on_however_little_or_much_there_is_to_gain(elasticity):
    assert searched(elasticity).memory.searching


@pytest.mark.parametrize("elasticity", [ONWARD, 1e-12, 2.0, math.inf, math.nan])
def test_it_ends_uphill_and_takes_half_of_the_rate(elasticity):
    found = searched(elasticity)
    assert not found.memory.searching
    assert found.move == pytest.approx([math.log(BACK), 0, 0])
    start = f"window elasticity {elasticity:+.2g} at a loss of 1: the search ends, "
    assert found.reason(0) == start + "for the way that training went leads uphill"


def test_it_ends_at_a_loss_above_its_lowest_though_not_at_one_that_noise_explains():
    found = searched(lowest=1 / WORSE - 1e-3)
    assert not found.memory.searching
    assert found.move == pytest.approx([math.log(BACK), 0, 0])
    assert found.reason(0).endswith(f"the search ends, for the loss has been {1 / WORSE - 1e-3:.4g}")
    assert searched(lowest=1 / WORSE + 1e-3).memory.searching


@pytest.mark.parametrize("lowest", [-2.0, 0.0])
def test_a_loss_that_is_not_positive_does_not_end_it(lowest):
    assert searched(lowest=lowest).memory.searching


def test_it_ends_at_the_upper_bound_and_stays_there():
    found = searched(top=True)
    assert not found.memory.searching
    assert not found.move.any()
    assert found.reason(0).endswith("the search ends, for there is no higher rate")
    assert searched(1.0, top=True).move[0] == pytest.approx(math.log(BACK)), "there is a lower one"


def test_it_ends_when_it_has_taken_long_and_stays_where_it_is():
    found = searched(searched=SEARCH_MOST + 1e-9)
    assert not found.memory.searching
    assert not found.move.any()
    assert found.reason(0).endswith("the search ends, for it has taken long enough")
    assert searched(progress=SEARCH_MOST).memory.searching


@pytest.mark.parametrize("height", [1.0, 0.25, 0.04])
def test_beneath_a_schedule_that_rises_the_peak_lies_between_the_rate_and_what_acted(height):
    found = searched(0.1, height=height, warms_up=True)
    assert found.move[0] == pytest.approx(math.log(BACK * height**PEAK))
    fell = searched(0.1, height=height, warms_up=False)
    assert fell.move[0] == pytest.approx(math.log(BACK)), "what falls already has been at its peak"
    assert searched(height=height, warms_up=True).move[0] == math.log(GROWTH), "and so has what goes on"


def test_a_schedule_that_begins_at_zero_leads_to_a_finite_move():
    assert searched(0.1, height=0.0, warms_up=True).move[0] == pytest.approx(math.log(BACK) + PEAK * math.log(FAINTEST))


def test_several_rates_go_up_and_come_to_an_end_together():
    kinds, before = kinds_of(2, 0, 1), memory(searching=True)
    found = search(observation((-0.3, 0.2, 9.0)), before, kinds, False)
    assert list(found.move) == [math.log(GROWTH)] * 2 + [0]
    assert [found.answer(place) for place in range(3)] == [Gate.ACT, Gate.ACT, Gate.HOLD]
    ended = search(observation((-0.3, 0.4, -9.0)), before, kinds, False)
    assert not ended.memory.searching
    assert ended.move == pytest.approx([math.log(BACK)] * 2 + [0])


def test_it_remembers_the_lowest_loss_and_nothing_else():
    found = searched(lowest=2.0)
    assert found.memory.lowest == 1.0
    assert searched(1.0, lowest=0.5).memory.lowest == 0.5
    for name, value in vars(memory(searching=True, lowest=1.0)).items():
        np.testing.assert_array_equal(getattr(found.memory, name), value)


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(NUMBERS, st.floats(allow_nan=False, allow_infinity=False), NUMBERS, st.floats(0, 1), st.floats(0, 1))
def test_any_numbers_lead_to_a_finite_move_with_a_sentence(elasticity, loss, lowest, height, progress):
    for top, rises in ((False, False), (True, True)):
        found = searched(elasticity, lowest, top, loss=loss, height=height, progress=progress, warms_up=rises)
        assert np.isfinite(found.move).all()
        assert not found.move[1:].any()
        assert all(found.reason(place) for place in range(3))
        assert found.memory.searching == found.reason(0).endswith("the search raises it")
        if found.memory.searching:
            assert found.move[0] == math.log(GROWTH)
        else:
            assert found.move[0] <= 0
