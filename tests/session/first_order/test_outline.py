"""The outline of a schedule: how high it stands, whether it rises yet, and whether it anneals."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.notices import Notices
from ray_glocal.session.outline import Outline
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.tuning import ANNEALED, HIGHER

TOTAL = 200
EVERY = range(1, TOTAL + 1)


def drawn(height):
    """The outline of a height that is a function of the share of training, for two groups alike."""
    factors = np.array([height(step / TOTAL) for step in range(TOTAL)])
    return Outline(np.stack([factors, factors], 1)), factors


def test_a_constant_rate_is_at_its_height_all_along():
    for level in (1.0, 1e-3, 40.0):
        outline, _ = drawn(lambda share: level)  # noqa: B023 - drawn at once
        assert all(outline.height(step) == 1 and not outline.warms_up(step) for step in EVERY)
        assert not outline.annealed


def test_a_cosine_anneals_and_falls_all_along():
    outline, factors = drawn(lambda share: 0.5 * (1 + math.cos(math.pi * share)))
    assert outline.annealed
    assert not any(outline.warms_up(step) for step in EVERY)
    np.testing.assert_allclose([outline.height(step) for step in EVERY], factors)


def test_a_warm_up_rises_to_its_end_and_does_not_anneal():
    outline, _ = drawn(lambda share: min(1.0, 0.1 + share * 9))
    assert not outline.annealed
    assert outline.height(1) == pytest.approx(0.1)
    rising = [step for step in EVERY if outline.warms_up(step)]
    assert rising == list(range(1, len(rising) + 1))
    assert all(outline.height(step) * HIGHER < 1 for step in rising)
    assert outline.height(len(rising) + 1) * HIGHER >= 1


def test_one_cycle_rises_and_then_anneals():
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.7, TOTAL, cycle_momentum=False, pct_start=0.3)
    hyper = (Hyperparameter("lr", 0.7, 1e-5, 1.0, "log"),)
    problem = Problem(model, optimizer, lambda m, b: m(b).mean(), lambda m, b: m(b).mean(), hyper)
    schedule = Schedule(scheduler, problem, Notices())
    outline = Outline(schedule.foresee(TOTAL))
    assert outline.annealed
    assert outline.height(1) == pytest.approx(1 / 25)
    peak = max(EVERY, key=outline.height)
    assert peak == pytest.approx(0.3 * TOTAL, abs=1)
    assert outline.height(peak) == 1
    assert outline.warms_up(1)
    assert not any(outline.warms_up(step) for step in range(peak, TOTAL + 1))


def test_a_schedule_that_comes_to_its_peak_again_rises_until_then():
    outline, _ = drawn(lambda share: 1 - 0.9 * math.sin(math.pi * min(1.0, 2 * share)))
    assert outline.warms_up(TOTAL // 4)
    assert not outline.warms_up(1), "it has been there"
    assert not outline.annealed, "it ends at its height"


@pytest.mark.parametrize(("end", "annealed"), [(0.0, True), (0.05, True), (0.2, False), (0.5, False)])
def test_it_anneals_where_its_end_is_well_below_its_mean(end, annealed):
    outline, factors = drawn(lambda share: 1 - (1 - end) * share)
    assert outline.annealed is annealed
    assert bool(factors[-TOTAL // 20 :].mean() < ANNEALED * factors.mean()) == annealed


def test_groups_of_their_own_count_by_their_mean():
    rising, falling = np.linspace(0, 1, TOTAL), np.linspace(1, 0, TOTAL)
    level = Outline(np.stack([rising, falling], 1))
    assert all(level.height(step) == pytest.approx(1) for step in EVERY)
    assert not level.annealed


def test_before_the_first_step_and_beyond_the_last_it_is_as_there():
    outline, factors = drawn(lambda share: 1 - share)
    assert outline.height(0) == outline.height(1) == 1
    assert outline.height(TOTAL + 9) == outline.height(TOTAL) == factors[-1]


@pytest.mark.parametrize("total", [1, 2, 5])
def test_a_training_of_few_steps_has_an_outline_too(total):
    outline = Outline(np.ones((total, 1)))
    assert (outline.height(total), outline.warms_up(total), outline.annealed) == (1, False, False)


def test_a_schedule_of_nothing_but_zeros_stands_at_zero():
    with np.errstate(all="raise"):
        outline = Outline(np.zeros((9, 1)))
    assert (outline.height(3), outline.warms_up(3), outline.annealed) == (0, False, False)
