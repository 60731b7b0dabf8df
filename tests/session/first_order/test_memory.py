"""What is remembered between two observations, held to sums in plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.tuning import ABOVE, DOUBT, LEVEL, MEAN, SQUARE
from ray_glocal.session.state.plain import check_plain

from .cases import memory

SERIES = np.random.default_rng(0).normal(0.2, 1.0, (9, 3))


def taught(series):
    known = memory()
    for row in series:
        known = known.learn(row)
    return known


@pytest.mark.parametrize("count", [1, 2, 9])
def test_means_are_weighted_sums_whose_weights_add_up_to_one(count):
    """Those of the elasticities, not of their squares, after a zero that nobody has observed."""
    known = taught(SERIES[:count])
    doubted = np.concatenate([np.zeros((DOUBT, 3)), SERIES[:count]])
    for decay, found, series in ((MEAN, known.average, doubted), (SQUARE, known.spread**2, SERIES[:count] ** 2)):
        ages = np.arange(len(series))[::-1]
        np.testing.assert_allclose(found, decay**ages / np.sum(decay**ages) @ series)
    np.testing.assert_allclose(known.ratio, known.average / known.spread)


def test_before_anything_is_known_all_is_zero_and_the_deviation_infinite():
    with np.errstate(all="raise"):
        known = memory()
        for found in (known.average, known.spread, known.ratio):
            assert not found.any()
        assert np.isinf(known.deviation).all()
        assert np.isinf(known.learn(np.ones(3)).deviation).all()
        assert not known.learn(np.zeros(3)).ratio.any()


def test_the_deviation_of_the_mean_is_that_of_many_series():
    generator, means, told = np.random.default_rng(1), [], []
    for _ in range(400):
        known = taught(generator.normal(0.0, 2.0, (30, 3)))
        means.append(known.average)
        told.append(known.deviation)
    assert np.mean(told) == pytest.approx(np.std(means), rel=0.2)


def test_a_series_that_keeps_its_value_has_no_deviation():
    np.testing.assert_allclose(taught([np.ones(3)] * 60).deviation, 0, atol=1e-4)


def test_what_has_done_harm_is_unlearned_and_the_losses_stay():
    known = taught(SERIES).judge(1.0)
    clean = known.unlearn()
    assert clean.count == 0
    assert not clean.average.any()
    assert (clean.level, clean.best, clean.searching) == (known.level, known.best, known.searching)


def test_the_level_is_smoothed_and_its_lowest_kept():
    known, level, best = memory(), None, math.inf
    for loss in (3.0, 2.0, 2.5, 1.0, 4.0):
        known = known.judge(loss)
        level = loss if level is None else LEVEL * level + (1 - LEVEL) * loss
        best = min(best, level)
        assert (known.level, known.best) == pytest.approx((level, best))


@pytest.mark.parametrize("good", [1.0, -1.0])
def test_it_counts_how_long_the_level_has_stood_above(good):
    known, far = memory().judge(good), good + 5 * ABOVE
    for count in (1, 2, 3):
        known = known.judge(far)
        assert known.above == count
    for _ in range(9):
        known = known.judge(good)
    assert known.above == 0


def test_the_search_judges_no_loss():
    searching = memory(searching=True)
    assert searching.judge(3.0) is searching


def test_after_a_retreat_what_was_felt_is_unknown_and_the_derivatives_stay():
    known = memory(searching=True, rate_elasticity=np.ones(3)).learn(np.ones(3))
    known = known.forget().judge(1.0).judge(9.0)
    after = known.forget()
    assert not after.searching
    assert np.isnan(after.rate_elasticity).all()
    assert (after.level, after.best, after.above) == (1.0, 1.0, 0)
    assert (after.mean == known.mean).all()
    assert after.count == known.count == 1


def test_it_survives_as_plain_data():
    known = taught(SERIES).judge(1.0).judge(2.0)
    plain = known.as_plain()
    check_plain(plain)
    again = Memory.from_plain({n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in plain.items()})
    for name, value in vars(known).items():
        np.testing.assert_array_equal(value, getattr(again, name))
        assert type(value) is type(getattr(again, name))
    plain["mean"].zero_()
    assert known.mean.any(), "it holds copies"


def test_kinds_are_told_by_the_option_that_is_set():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.1)
    hyper = (
        Hyperparameter("head", 0.1, field="lr", groups=(0,)),
        Hyperparameter("mix", torch.full((2,), 0.5), scale="simplex"),
        Hyperparameter("beta1", 0.9, 0.0, 0.99, "logit"),
        Hyperparameter("weight_decay", 0.1),
        Hyperparameter("lr", 0.1, groups=(1,)),
    )
    problem = Problem(model, optimizer, lambda m, b, h: m(b).mean() * h["mix"].sum(), lambda m, b: m(b).mean(), hyper)
    kinds = Kinds.of(problem)
    assert kinds.rates.tolist() == [True, False, False, False, False, True]
    assert kinds.decays.tolist() == [False, False, False, True, False, False]
    assert kinds.others.tolist() == [False, True, True, False, True, False]


def test_a_state_is_worth_going_back_to_near_the_level_until_that_has_crept_up():
    known, kept = memory(), []
    for loss in (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.29, 1.32, 1.36):
        kept.append(known.worth_keeping(loss, 1.0))
        known = known.judge(loss)
    assert kept == [True] * 7 + [False] * 2
    assert not replace(known, level=1.0).worth_keeping(1.15, 1.0), "though it is not far above the lowest"
    assert memory(searching=True, lowest=0.5).worth_keeping(0.5, 0.0)
    assert not memory(searching=True, lowest=0.5).worth_keeping(0.51, 9.0)
