"""Inner steps taken again from a remembered state, without the optimizer: the same operations, the same bits."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ray_glocal.hypergradient.gradient.slope import first_derivatives
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.state.snapshot import InnerState, Slope, Snapshot


def segments(snapshots: Sequence[Snapshot]) -> list[list[Snapshot]]:
    """A window's steps in segments, each from a remembered state to just before the next one, in order."""
    parts: list[list[Snapshot]] = []
    for snapshot in snapshots:
        if snapshot.state is not None:
            parts.append([])
        parts[-1].append(snapshot)
    return parts


def recalled(problem: Problem, segment: Sequence[Snapshot]) -> Iterator[Snapshot]:
    """The steps of a segment, each with the state it started from; the model is left somewhere in it.

    Args:
        problem: The bilevel problem.
        segment: Consecutive steps, the first of which has its state.
    """
    state = segment[0].start.on(problem.parameters[0].device)
    for index, snapshot in enumerate(segment, 1):
        known = replace(snapshot, state=state)
        if index < len(segment):
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
