"""First derivatives of an inner step, without a graph, by the kernels of the plain step."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ray_glocal.hypergradient.gradient.field import Gradients, added, shared, unscaled
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.statistics import readings, updated
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.snapshot import Slope, Snapshot


def first_derivatives(problem: Problem, snapshot: Snapshot) -> Slope:
    """Gradient of a step's training loss where the model is placed, by the kernels of the plain step."""
    leaves = problem.leaves(snapshot.values, differentiable=True)
    found = loss_gradients(problem, snapshot, leaves)
    present = [i for i, gradient in enumerate(found) if gradient is not None]
    joined = problem.ranks.mean([gradient for gradient in found if gradient is not None])
    for i, mean in zip(present, joined, strict=True):
        found[i] = mean
    count = len(problem.parameters)
    hyper = {name: f for name, f in zip(leaves, found[count:], strict=True) if f is not None}
    return Slope(tuple(found[:count]), hyper)


def loss_gradients(
    problem: Problem,
    snapshot: Snapshot,
    leaves: Mapping[str, Tensor],
    before: Sequence[Tensor] = (),
    weights: Sequence[Tensor] = (),
) -> list[Tensor | None]:
    """Derivatives of this rank's training loss in parameters, hyperparameters and statistics, without a graph.

    Args:
        problem: The bilevel problem, its model placed where the derivatives are wanted.
        snapshot: The inner step.
        leaves: Hyperparameters that the loss reads.
        before: Running statistics ahead of the step, leaves of a graph.
        weights: What those after it are multiplied by and added to the loss; none to leave them out.
    """
    inputs, parts = [*problem.parameters, *leaves.values(), *before], problem.parts(owned(snapshot.batch))
    total: Gradients = (None,) * len(inputs)
    # Statistics chain the micro-batches: then they are one graph.
    for chunk in [parts] if before else [[part] for part in parts]:
        with problem.ranks.apart(), readings(problem.statistics if before else ()) as seen:
            losses = [problem.train(part, leaves) for part in chunk]
            loss = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
        loss = shared(loss, len(parts), snapshot.scale)
        after = updated(before, seen) if before else []
        for weight, statistic in zip(weights, after, strict=True):
            loss = loss + (snapshot.scale * weight * statistic).sum()
        total = added(total, torch.autograd.grad(loss, inputs, allow_unused=True))
    return list(snapshot.trained(unscaled(total, snapshot.scale)))
