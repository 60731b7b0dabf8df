"""The search for the learning rate's order of magnitude: where it goes, and where it ends."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ray_glocal.session.windows.gate import judge
from ray_glocal.session.windows.outer import Axes, OuterState, Standing, move, raised_from_cold, restrain, search
from ray_glocal.session.windows.tuning import CEILING, COLD, IDLE, LONG

from .outer import AXES, DEFAULT, state


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
