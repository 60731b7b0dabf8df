"""Recorded steps against each other: what torch's optimizers do is accepted, what anybody else writes is named."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Clipping, Hyperparameter, Problem
from ray_glocal.hypergradient.gradient.field import GradientField
from ray_glocal.hypergradient.gradient.step import check_step
from ray_glocal.hypergradient.gradient.verification import same_step
from ray_glocal.hypergradient.trouble import WindowError

from ..cases import JUMPING, OPTIMIZERS, Case, entropy

BUILT = {
    "fused sgd": (torch.optim.SGD, {"momentum": 0.9, "fused": True}),
    "fused adamw": (torch.optim.AdamW, {"fused": True}),
    "foreach adam": (torch.optim.Adam, {"foreach": True, "amsgrad": True}),
    "single adam": (torch.optim.Adam, {"foreach": False}),
    "maximized sgd": (torch.optim.SGD, {"maximize": True}),
    "centered rmsprop": (torch.optim.RMSprop, {"centered": True}),
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def problem_of(kind=torch.optim.SGD, dtype=torch.float64, *, clipping=None, **options):
    model = network().to(dtype)
    optimizer = kind(model.parameters(), lr=0.1, **options)
    rate = [Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")]
    return Problem(model, optimizer, entropy, entropy, rate, clipping=clipping)


def batch_of(problem, seed=1):
    generator = torch.Generator().manual_seed(seed)
    dtype = problem.parameters[0].dtype
    return torch.randn(8, 4, generator=generator).to(dtype), torch.randint(3, (8,), generator=generator)


def taken(problem, batch, *, early=lambda: None, late=lambda: None):
    """A real step: its record, the gradient of the loss, clipped, and the state after it.

    Args:
        early: Called between the backward pass and the optimizer.
        late: Called after the optimizer.
    """
    values = problem.start_values()
    snapshot = problem.snapshot(batch, values, problem.capture())
    problem.differentiate(batch, problem.leaves(values, differentiable=False))
    gradients = [None if p.grad is None else p.grad.clone() for p in problem.parameters]
    early()
    problem.take_step()
    late()
    clipped = gradients if problem.clipping is None else problem.clipping.clipped(gradients)
    return problem, snapshot, clipped, problem.capture()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("kind", [*OPTIMIZERS, *JUMPING])
def test_every_optimizers_steps_are_accepted(kind, dtype):
    case = Case.build("mlp", kind, steps=6, dtype=dtype)
    case.problem.write_options(None, case.problem.start_values())
    for batch in case.batches:
        check_step(*taken(case.problem, batch))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("kind", BUILT)
def test_every_implementation_of_an_optimizer_is_accepted(kind, dtype):
    made, options = BUILT[kind]
    problem = problem_of(made, dtype, **options)
    for seed in range(6):
        check_step(*taken(problem, batch_of(problem, seed)))


def test_clipped_steps_are_accepted():
    problem = problem_of(clipping=Clipping(1e-2))
    for seed in range(3):
        check_step(*taken(problem, batch_of(problem, seed)))


def test_steps_of_infinite_and_missing_numbers_are_accepted_as_they_are():
    for value in (math.inf, math.nan):
        problem = problem_of()
        inputs, labels = batch_of(problem)
        check_step(*taken(problem, (inputs * value, labels)))


def test_parameters_without_a_gradient_stand_still():
    problem = problem_of()
    problem.train_loss = lambda model, batch: model[0](batch[0]).square().mean()
    problem.optimizer.zero_grad()
    told = taken(problem, batch_of(problem))
    assert told[2][2] is None
    check_step(*told)
    nudge = lambda: problem.parameters[2].data.add_(1e-3)  # noqa: E731
    with pytest.raises(WindowError, match=r"^the step that '2\.weight' took is off by 1 of its length"):
        check_step(*taken(problem, batch_of(problem), late=nudge))


def another(problem):
    other = torch.optim.Adagrad([problem.parameters[1]], lr=0.01)
    return other.step


def buffer_of(problem):
    def change():
        problem.optimizer.state[problem.parameters[0]]["momentum_buffer"].mul_(0.5)

    return change


def putting_back(problem):
    before = problem.parameters[3].detach().clone()
    return lambda: problem.parameters[3].data.copy_(before)


def cut(problem):
    return lambda: nn.utils.clip_grad_norm_(problem.parameters, 1e-3)


def edited(problem):
    return lambda: problem.parameters[3].grad.mul_(1.01)


LATE = {
    "a clamp": (lambda p: lambda: p.parameters[2].data.clamp_(-0.1, 0.1), "2.weight"),
    "a write to its data": (lambda p: lambda: p.parameters[0].data.mul_(0.999), "0.weight"),
    "another optimizer": (another, "0.bias"),
    "a buffer": (buffer_of, "0.weight"),
    "a missing number": (lambda p: lambda: p.parameters[3].data[0].fill_(math.nan), "2.bias"),
    "putting it back": (putting_back, "2.bias"),
}
EARLY = {"clipping": (cut, "0.weight"), "an edited gradient": (edited, "2.bias")}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", [*LATE, *EARLY])
def test_what_anybody_else_writes_is_named(name, dtype):
    problem = problem_of(dtype=dtype, momentum=0.9)
    check_step(*taken(problem, batch_of(problem, 2)))
    make, parameter = {**LATE, **EARLY}[name]
    change = make(problem)
    told = taken(problem, batch_of(problem), **{"late" if name in LATE else "early": change})
    with pytest.raises(WindowError) as trouble:
        check_step(*told)
    first, last = (
        f"the step that {parameter!r} took is off by ",
        (
            "of its length from what the optimizer makes of the loss's gradient: something else writes to it or to its "
            "gradient (a hook, a clamp between steps, another optimizer)"
        ),
    )
    assert str(trouble.value).startswith(first)
    assert str(trouble.value).endswith(last)


def test_numbers_that_somebody_puts_in_place_of_missing_ones_are_named():
    problem = problem_of()
    inputs, labels = batch_of(problem)
    clean = lambda: problem.parameters[0].data.nan_to_num_()  # noqa: E731
    with pytest.raises(WindowError, match=r"the step that '0\.weight' took is off by inf"):
        check_step(*taken(problem, (inputs * math.nan, labels), late=clean))


@pytest.mark.parametrize("share", [1e-3, 1e-2])
def test_a_thousandth_of_a_step_is_noticed_and_rounding_is_not(share):
    for dtype, slight in ((torch.float64, 1e-9), (torch.float32, 1e-8)):
        for size, right in ((share, False), (slight, True)):
            problem = problem_of(dtype=dtype)
            before = problem.parameters[0].detach().clone()

            def stretch(problem=problem, before=before, size=size):
                problem.parameters[0].data.add_(problem.parameters[0].detach() - before, alpha=size)

            told = taken(problem, batch_of(problem), late=stretch)
            if right:
                check_step(*told)
            else:
                with pytest.raises(WindowError, match=rf"'0\.weight' took is off by {share / (1 + share):.2g}"):
                    check_step(*told)


# ---- the same step twice ----


def field_at(problem, snapshot):
    problem.place(snapshot.start)
    return GradientField.of(problem, snapshot)


def test_a_step_is_the_same_when_its_loss_is():
    problem = problem_of()
    batch, values = batch_of(problem), problem.start_values()
    bare = problem.snapshot(batch, values, problem.capture())
    loss = problem.differentiate(batch, {})
    for held in (None, loss, loss * (1 + 1e-6), loss.float()):
        snapshot = bare if held is None else replace(bare, loss=held)
        field = field_at(problem, snapshot)
        assert same_step(problem, snapshot, field) is field


@pytest.mark.parametrize("factor", [1.001, 0.5, math.nan])
def test_a_loss_that_is_another_one_the_second_time_is_said(factor):
    problem = problem_of()
    batch, values = batch_of(problem), problem.start_values()
    bare = problem.snapshot(batch, values, problem.capture())
    loss = problem.differentiate(batch, {})
    snapshot = replace(bare, loss=loss * factor)
    with pytest.raises(WindowError) as trouble:
        same_step(problem, snapshot, field_at(problem, snapshot))
    assert str(trouble.value) == (
        f"a step's loss was {float(loss * factor):.6g}, and {float(loss):.6g} when it was run again from the same "
        "state: it depends on something that could not be put back"
    )
