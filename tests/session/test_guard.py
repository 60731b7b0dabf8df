"""What a guard takes for trouble, where it goes back to, and what it cuts."""

import math

import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.session.divergence import Guard, RestorePoint
from ray_glocal.session.tuning import FRESH

from .cases import LIVELY, differences

LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")


def guard_at(losses, settings=LIVELY):
    model = nn.Linear(2, 1)
    problem = Problem(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m, b: 0, lambda m, b: 0, [LR])
    guard = Guard(settings)
    for step, loss in enumerate(losses):
        guard.keep(RestorePoint.take(problem, step, loss, problem.start_values()))
    return guard, problem


def scaled(problem, factor):
    with torch.no_grad():
        for parameter in problem.parameters:
            parameter.mul_(factor)


def test_what_counts_as_a_jump():
    guard, _ = guard_at([1.0, 0.5])
    assert guard.validation_jumped(2 * 0.5 + 0.02) == ""
    assert guard.validation_jumped(1.03) == "the validation loss jumped from 0.5 to 1.03"
    assert guard.validation_jumped(math.inf) == "the validation loss is not finite"


def test_losses_below_zero_do_not_jump_by_falling():
    guard, problem = guard_at([1.0, -2.0])
    assert guard.validation_jumped(-2.5) == ""
    assert guard.validation_jumped(-1.0) == ""
    assert guard.validation_jumped(0.1) != ""
    scaled(problem, 3.0)
    assert guard.collapsed(-1.0, problem) == ""


def test_what_counts_as_a_collapse():
    guard, problem = guard_at([1.0])
    assert guard.collapsed(1.0, problem) == "", "it has not travelled"
    scaled(problem, 2.0)
    assert (
        guard.collapsed(0.95, problem)
        == "the weights moved by 1 of their length, and the loss, 0.95, is no better for it"
    )
    assert guard.collapsed(0.85, problem) == ""


def test_a_run_that_had_learned_may_overfit():
    guard, problem = guard_at([1.0, 0.5])
    scaled(problem, 2.0)
    assert guard.collapsed(0.95, problem) == ""
    assert guard.collapsed(1.0, problem) != ""
    assert guard.learned


def test_a_run_thrown_away_at_its_start_is_told_until_it_has_gone_back_often():
    guard, problem = guard_at([1.0])
    scaled(problem, 5.0)
    told = "the weights moved by 4 times their length, and the loss fell only to 0.8"
    assert guard.strayed(0.8, problem, 0.1) == told
    assert guard.strayed(0.4, problem, 0.1) == ""
    assert guard.strayed(0.8, problem, 0.2) == ""
    guard.rollbacks = FRESH
    assert guard.strayed(0.8, problem, 0.1) == told
    guard.rollbacks = FRESH + 1
    assert guard.strayed(0.8, problem, 0.1) == ""


def test_a_run_that_stands_above_its_best_for_three_windows_has_stalled():
    guard, _ = guard_at([1.0, 0.5])
    assert [guard.stalled(loss) for loss in (0.7, 0.7, 0.6, 0.7, 0.7)] == [""] * 5  # 0.6 is near enough to start anew
    assert guard.stalled(0.8) == "the validation loss, 0.8, has stayed above 0.5 for 3 windows"
    assert guard.worth_keeping(0.54)
    assert not guard.worth_keeping(0.56)


def test_a_loss_that_creeps_up_does_not_take_the_good_state_along():
    guard, problem = guard_at([1.0, 0.5])
    for loss in (0.54, 0.58, 0.62, 0.66):
        if guard.worth_keeping(loss):
            guard.keep(RestorePoint.take(problem, 3, loss, problem.start_values()))
    assert (guard.good.loss, guard.lowest) == (0.62, 0.5)
    told = guard.as_plain()
    assert told["lowest"] == 0.5
    guard.restart(problem)
    assert guard.worth_keeping(1.05), "another path is measured by its own losses"


def test_an_heir_measures_by_its_ancestors_losses():
    ancestor, _ = guard_at([2.0, 0.01])
    ancestor.first_training_loss = 2.5
    heir, _ = guard_at([])
    heir.inherit(ancestor.as_plain())
    fresh, _ = guard_at([0.01])
    heir.keep(fresh.first)
    few = [torch.tensor(0.02)]
    assert fresh.validation_jumped(0.04)
    assert heir.validation_jumped(0.04) == ""
    assert heir.training_jumped(few) == ""
    assert heir.validation_jumped(0.2) == "the validation loss jumped from 0.01 to 0.2"
    assert heir.learned


@pytest.mark.parametrize("now", [1, 7])
def test_a_guard_survives_as_plain_data(now):
    """The state of a point that was taken at this very step is the problem's own, and not saved a second time."""
    guard, problem = guard_at([1.0, 0.5])
    guard.rollbacks, guard.strikes, guard.first_training_loss = 3, 2, 1.5
    again, points = Guard(LIVELY), guard.points_as_plain(now)
    assert ("model" in points["good"]) == (now != guard.good.step)
    again.load_plain(guard.as_plain(), points, problem)
    assert differences(guard.as_plain(), again.as_plain()) == []
    assert differences(guard.points_as_plain(-1), again.points_as_plain(-1)) == []


def test_what_was_cut_stays_cut_when_training_goes_back_again():
    """Weight decay and rate would take turns for ever, if going back for one brought the other back."""
    guard, problem = guard_at([1.0, 0.5])
    start = problem.start_values()
    first = guard.retreat(problem, start, to_first=False)
    assert first is not None
    again = guard.retreat(problem, first.values, to_first=False)
    assert again is not None
    for name in set(first.blamed) & set(again.blamed):
        assert float(again.values[name]) < float(first.values[name]) < float(start[name])
    assert set(first.blamed) & set(again.blamed)
    assert all(torch.equal(guard.good.values[name], value) for name, value in again.values.items())
