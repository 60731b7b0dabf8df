"""First-order hypergradients: without Hessian products, at averaged weights, at the price of a few passes.

What a hyperparameter does in one step is followed through the optimizer's update rule, and no further: the validation
gradient says whether that was to the good. It is taken at averaged weights, where the noise that annealing will take
out is gone already. Luketina et al. 2016 (arXiv:1511.06727) drop the Hessian so for one step; the difference quotient
in place of a mixed second derivative is that of Liu et al. 2019 (DARTS, arXiv:1806.09055); of a learning rate the
effect over a whole span is known, for it is the way that training went (method: displacement of two averages).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import foreach_add, foreach_add_, foreach_mul, foreach_sub
from ray_glocal.hypergradient.first_order.averages import Averages
from ray_glocal.hypergradient.first_order.tuning import RESPONSE, STEP
from ray_glocal.hypergradient.gradient.step import Carrier, ThroughRule, through_rule
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.copies import copied, write
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot


@dataclass(frozen=True)
class Measured:
    """What averaged weights say of each hyperparameter.

    Args:
        derivatives: Of the validation loss, in the hyperparameters' values, shape [q], float64 on the CPU: for having
            had them otherwise over the span between the two averages.
        loss: Validation loss at the averaged weights.
    """

    derivatives: Tensor
    loss: float


def rates_alone(problem: Problem, averages: Averages, val_batches: Sequence[Any], values: Values) -> Measured:
    """First-order hypergradient of the learning rates, zero for all else: a validation gradient, and nothing more.

    See `first_order`.
    """
    start = Randomness.capture()
    try:
        with problem.undisturbed(), averages.applied():
            outer = problem.outer_gradient(val_batches, values)
    finally:
        start.restore()
    found = problem.stacked([_along(problem, averages, outer.parameters, values)])[0]
    return Measured(found.cpu(), float(outer.loss))


def first_order(
    problem: Problem,
    averages: Averages,
    batch: Any,
    val_batches: Sequence[Any],
    values: Values,
    span: float,
    *,
    again: bool = True,
) -> Measured:
    """First-order hypergradient at averaged weights, the step before being taken as the like of all in the span.

    What an option does adds up over the span, what a training loss reads over RESPONSE steps of it at most. This takes
    a validation gradient and, where losses read hyperparameters, two forward passes of the training loss. Clipping of
    gradients is left out: it shortens all of them alike.

    Args:
        problem: The bilevel problem, after an inner step: its parameters hold their gradients still. Its weights,
            buffers and random generators come back as they were.
        averages: Of its weights.
        batch: That the last inner step was taken on.
        val_batches: Batches of the outer loss.
        values: Hyperparameters of the last inner step.
        span: Steps between the two averages.
        again: Whether the training loss may be run again; what it alone reads has a derivative of zero otherwise.

    Raises:
        ArgumentError: There are no validation batches, or `val_loss` is not a scalar that depends on the parameters.
    """
    start, state = Randomness.capture(), problem.capture(list, again=False)
    gradients = tuple(parameter.grad for parameter in problem.parameters)
    try:
        with problem.undisturbed(), averages.applied() as own:
            outer = problem.outer_gradient(val_batches, values)
            through = _through(problem, replace(state, parameters=own), gradients, outer.parameters, values)
            hyper = _through_losses(problem, batch, values, through.gradients) if again else {}
    finally:
        start.restore()
    rates = _along(problem, averages, outer.parameters, values)
    effects = {name: effect * span for name, effect in through.options.items()}
    effects |= {name: effect * min(span, RESPONSE) for name, effect in hyper.items()}
    found = problem.stacked([{**effects, **rates}])[0] + outer.direct
    return Measured(found.cpu(), float(outer.loss))


@torch.no_grad()
def _through(
    problem: Problem,
    live: InnerState,
    gradients: Sequence[Tensor | None],
    cotangents: Sequence[Tensor],
    values: Values,
) -> ThroughRule:
    """The validation gradient pulled back through the update that the last gradients would lead to once more."""
    options = tuple(problem.rule.options(group) for group in problem.optimizer.param_groups)
    snapshot = Snapshot(live, None, options, values)
    nothing = tuple({name: torch.zeros_like(t) for name, t in held.items()} for held in live.slots)
    carrier = Carrier(tuple(copied(cotangents)), nothing, ())
    return through_rule(problem, snapshot, gradients, carrier)


def _through_losses(problem: Problem, batch: Any, values: Values, directions: Sequence[Tensor]) -> Mapping[str, Tensor]:
    """Derivative of the training gradient along some directions in what the training loss reads, by name."""
    leaves = problem.leaves(values, differentiable=True)
    if not leaves or not problem.train_reads:
        return {}
    own = list(problem.parameters)
    length = math.sqrt(sum(float(d.double().square().sum()) for d in directions))
    size = math.sqrt(sum(float(p.detach().double().square().sum()) for p in own))
    if not 0 < length < math.inf:
        return {}
    far, here, start = STEP * (size or 1.0) / length, copied(own), Randomness.capture()
    sides = []
    for side in (far, -far):
        with torch.no_grad():
            write(own, list(foreach_add(here, list(directions), alpha=side)))
        start.restore()
        with problem.unnoticed():  # or the sides would differ
            sides.append(_slopes(problem, batch, leaves))
    write(own, here)
    difference = foreach_mul(foreach_sub(*sides), 1 / (2 * far))
    means = problem.ranks.mean(list(difference))
    return dict(zip(leaves, means, strict=True))


def _slopes(problem: Problem, batch: Any, leaves: Mapping[str, Tensor]) -> list[Tensor]:
    """Derivatives of the training loss in the leaves; means over micro-batches."""
    wanted, parts = list(leaves.values()), problem.parts(owned(batch))
    total = [torch.zeros_like(leaf) for leaf in wanted]
    for part in parts:
        loss = problem.train(part, leaves).reshape(())
        found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
        felt = [(t, f) for t, f in zip(total, found, strict=True) if f is not None]
        if felt:
            foreach_add_([t for t, _ in felt], [f for _, f in felt], alpha=1 / len(parts))
    return total


def _along(problem: Problem, averages: Averages, gradients: Sequence[Tensor], values: Values) -> dict[str, Tensor]:
    """Derivatives in the learning rates: the way that their groups went is what an e-fold more of them would add."""
    displaced = averages.displacement()
    dots = [torch.sum(g.double() * d.double()) for g, d in zip(gradients, displaced, strict=True)]
    found: dict[str, Tensor] = {}
    for binding in problem.bindings:
        if binding.field == "lr":
            own = [dot for dot, group in zip(dots, problem.group_of, strict=True) if group in binding.groups]
            rate = values[binding.hyperparameter.name]
            total = torch.stack(own).sum() if own else torch.zeros((), dtype=torch.float64)
            found[binding.hyperparameter.name] = total / rate.to(total.device)
    return found
