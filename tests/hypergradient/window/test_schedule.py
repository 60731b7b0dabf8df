"""A learning-rate schedule inside windows and truths: the derivative is that of the scheduled run."""

import math

import pytest
import torch

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.engines.oracle import final_loss, finite_differences

from ..cases import Case, relative

COSINE = [0.5 + 0.5 * math.cos(math.pi * step / 8) for step in range(8)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_truth_and_finite_differences_follow_a_schedule(optimizer):
    case = Case.build("mlp", optimizer, steps=8)
    problem, values = case.problem, case.problem.start_values()
    exact = global_hypergradient(problem, case.batches, case.val_batches, values, COSINE)
    differences = finite_differences(problem, case.batches, case.val_batches, values, (1e-3, 1e-4), COSINE)
    line = problem.pull_back(values, exact.derivatives)[-1]
    assert max(relative(line, row) for row in differences.derivatives) < 1e-2
    constant = global_hypergradient(problem, case.batches, case.val_batches, values).derivatives[-1]
    assert relative(exact.derivatives[-1], constant) > 0.1  # the schedule matters
    window = record_window(problem, case.batches, case.val_batches, values, COSINE)
    ends = (engine(problem, window).derivatives[-1] for engine in (forward_trajectory, adjoint_trajectory))
    torch.testing.assert_close(*ends, rtol=1e-10, atol=1e-14)


def test_a_scheduled_run_is_the_one_that_torch_schedules():
    """Also from the middle, and whether or not the rate is adapted."""
    for adapted in (True, False):
        case, twin = (Case.build("mlp", "sgd", steps=8) for _ in range(2))
        kept = [h for h in case.problem.hyperparameters if adapted or h.name != "lr"]
        problem = Problem(
            case.problem.model, case.problem.optimizer, case.problem.train_loss, case.problem.val_loss, kept
        )
        problem.write_options(None, problem.start_values())
        twin.problem.write_options(None, {**twin.problem.start_values(), **problem.start_values()})
        for group in twin.problem.optimizer.param_groups:
            group["lr"] = problem.optimizer.param_groups[0]["lr"]
        scheduler = torch.optim.lr_scheduler.LambdaLR(twin.problem.optimizer, lambda step: COSINE[step % 8])
        for batch in case.batches:
            twin.problem.optimizer.zero_grad()
            twin.problem.train(batch, twin.problem.leaves(twin.problem.start_values(), differentiable=False)).backward()
            twin.problem.optimizer.step()
            scheduler.step()
        values = problem.start_values()
        base = problem.base_rates()
        for part in (slice(0, 5), slice(5, 8)):
            for group, rate in zip(problem.optimizer.param_groups, base, strict=True):
                group["initial_lr"] = rate
            record_window(problem, case.batches[part], case.val_batches, values, COSINE[part])
        for ours, theirs in zip(problem.parameters, twin.problem.parameters, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_each_parameter_group_may_have_a_factor_of_its_own():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, lr=0.1)

    def loss(model, batch):
        return model(batch).square().mean()

    problem = Problem(model, optimizer, loss, loss, [Hyperparameter("weight_decay", 0.1, scale="log")])
    batches, values = [torch.ones(4, 2, dtype=torch.float64)] * 3, problem.start_values()
    window = record_window(problem, batches, batches[:1], values, [(1.0, 0.0), (1.0, 0.5), (0.0, 1.0)])
    rates = [[options["lr"] for options in snapshot.options] for snapshot in window.snapshots]
    assert rates == [[0.1, 0.0], [0.1, 0.1], [0.0, 0.2]]


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([1.0, 0.5], "`factors` must be as many as batches; got 2"),
        ([(1.0, 0.5)] * 6, "`factors` must be one number a step, or one for each of 1 groups"),
    ],
)
def test_factors_must_fit_steps_and_groups(factors, message):
    case = Case.build("mlp", "sgd")
    with pytest.raises(ArgumentError, match=message):
        final_loss(case.problem, case.batches, case.val_batches, case.problem.start_values(), factors)
