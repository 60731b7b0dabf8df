"""The probe: how far the first update may go, by a line search over a few forward passes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient._compat import foreach_add
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.losses import check_graph
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.copies import copied, write
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.session.first_order.tuning import PROBED


@dataclass(frozen=True)
class Probed:
    """What a probe has found.

    Args:
        rate: At which the first update leads lowest on its own batch; None where none leads down.
        loss: Training loss before it.
        tried: Rates that were tried.
    """

    rate: float | None
    loss: float
    tried: int


def probe(problem: Problem, batch: Any, values: Values) -> Probed:
    """Find the learning rate at which the first update leads lowest.

    An order of magnitude, and too high rather than too low: the batch has chosen the update. Every optimizer's own
    update is tried, at a rate of one times what is probed. Weights, buffers, generators come back as they were.

    Args:
        problem: Before its first step.
        batch: The first.
        values: Hyperparameters.
    """
    with problem.preserved() as state:
        leaves, part = problem.leaves(values, differentiable=False), problem.parts(owned(batch))[0]
        start = Randomness.capture()
        loss, gradients = _gradients(problem, part, leaves)
        update = _update(problem, gradients)

        tried: list[float] = []

        def at(rate: float) -> float:
            tried.append(rate)
            with torch.no_grad():
                write(list(problem.parameters), foreach_add(state.parameters, update, alpha=rate))
            start.restore()
            with problem.unnoticed():
                found = problem.train(owned(part), leaves).detach().reshape(())
            return _finite(problem.ranks.mean([found])[0])

        rate, lowest = _lowest(at)
        first = _finite(problem.ranks.mean([loss])[0])
    return Probed(rate if lowest < first else None, float(loss), len(tried))


def _lowest(at: Callable[[float], float]) -> tuple[float, float]:
    """The rate where a loss is lowest, and the loss there: downhill from the middle of `PROBED`."""
    place = len(PROBED) // 2
    here, below = at(PROBED[place]), at(PROBED[place - 1])
    towards = -1 if below <= here else 1
    if towards < 0:
        place, here = place - 1, below
    while 0 <= place + towards < len(PROBED) and (there := at(PROBED[place + towards])) <= here:
        place, here = place + towards, there
    return PROBED[place], here


def _finite(loss: Tensor) -> float:
    return float(loss) if math.isfinite(loss) else math.inf


def _gradients(problem: Problem, part: Any, leaves: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The training loss and its gradients, means over the ranks; the parameters' own stay as they are."""
    own = list(problem.parameters)
    with problem.unnoticed():
        loss = problem.train(owned(part), leaves).reshape(())
        check_graph("train_loss", loss)
        found = torch.autograd.grad(loss, own, allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(own, found, strict=True)]
    return loss.detach(), problem.ranks.mean(gradients)


@torch.no_grad()
def _update(problem: Problem, gradients: list[Tensor]) -> list[Tensor]:
    """How each parameter would move in the optimizer's first step at a learning rate of one, without weight decay.

    Groups keep the ratios of their rates; those whose rate is not adapted stay.
    """
    moved, starts = [], copied(problem.parameters)
    rates = [(b.hyperparameter.name, group) for b in problem.bindings if b.field == "lr" for group in b.groups]
    shares = {group: problem.proportion(name, group).slope for name, group in rates}
    for own, gradient, group in zip(starts, gradients, problem.group_of, strict=True):
        options = problem.rule.options(problem.optimizer.param_groups[group])
        options = {**options, "lr": shares.get(group, 0.0), "weight_decay": 0.0}
        slots, step = problem.rule.read(own, {}, options)
        after, _ = problem.rule.update(own, gradient, slots, step, options)
        moved.append(after - own)
    return moved
