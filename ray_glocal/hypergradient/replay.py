"""Inner steps taken again from a remembered state, without the optimizer: the same operations, the same bits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ray_glocal.hypergradient.batch import owned
from ray_glocal.hypergradient.field import Gradients, added, shared, unscaled
from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.randomness import Randomness
from ray_glocal.hypergradient.state import InnerState, Slope, Snapshot
from ray_glocal.hypergradient.statistics import readings, updated


def stretches(snapshots: Sequence[Snapshot]) -> list[list[Snapshot]]:
    """A window's steps in stretches, each from a remembered state to just before the next one, in order."""
    parts: list[list[Snapshot]] = []
    for snapshot in snapshots:
        if snapshot.state is not None:
            parts.append([])
        parts[-1].append(snapshot)
    return parts


def recalled(problem: Problem, stretch: Sequence[Snapshot]) -> Iterator[Snapshot]:
    """The steps of a stretch, each with the state it started from; the model is left somewhere in it.

    Args:
        problem: The bilevel problem.
        stretch: Consecutive steps, the first of which has its state.
    """
    state = stretch[0].start.on(problem.parameters[0].device)
    for index, snapshot in enumerate(stretch, 1):
        known = replace(snapshot, state=state)
        if index < len(stretch):
            slope, state = advanced(problem, known)
            known = replace(known, slope=snapshot.slope and slope)
        yield known


def advanced(problem: Problem, snapshot: Snapshot) -> tuple[Slope, InnerState]:
    """First derivatives of a step and the state after it, by the update rule with plain numbers."""
    problem.place(snapshot.start)
    slope = first_derivatives(problem, snapshot)
    state = snapshot.start
    parameters, slots, steps = list(state.parameters), list(state.slots), list(state.steps)
    gradients = slope.parameters if problem.clipping is None else problem.clipping.clipped(slope.parameters)
    for place, gradient in enumerate(gradients if snapshot.taken else ()):
        if gradient is not None:
            options = snapshot.options[problem.group_of[place]]
            with torch.no_grad():
                updated = problem.rule.update(parameters[place], gradient, slots[place], steps[place], options)
            parameters[place], slots[place] = updated
            steps[place] += 1
    buffers = tuple(buffer.detach().clone() for buffer in problem.model.buffers())
    held = tuple(parameters), tuple(slots), tuple(steps), buffers
    return slope, InnerState(*held, Randomness.capture(), problem.surroundings.capture())


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
