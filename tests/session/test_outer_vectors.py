"""The gate and the outer step of hyperparameters of several entries, which are judged and moved as one."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.windows.gate import CAUSES, Cause, judge
from ray_glocal.session.windows.outer import Axes, OuterState, move
from ray_glocal.session.windows.tuning import GROW, HEADING_MEMORY, SHRINK

from .outer import ANY, AXES, DEFAULT, bought

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
