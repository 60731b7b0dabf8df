"""Whether what a window's derivatives are of is what was trained: recorded steps held against each other.

From the state that a step started in and the gradient that is differentiated the update rule gives a state, and that
must be the one in which the next step started. It is not where anything else writes to parameters or gradients: a hook
after the backward pass, a clamp between steps, another optimizer, a loss that computes something else the second time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ray_glocal.hypergradient.gradient.buckets import Bucket
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.rules import Update
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot
from ray_glocal.hypergradient.trouble import WindowError
from ray_glocal.hypergradient.tuning import CHUNK, LOSS, LOSS_FLOOR, ROUNDED_SHARE, SHARE, ULPS

if TYPE_CHECKING:
    from ray_glocal.hypergradient.gradient.field import GradientField


def same_step(problem: Problem, snapshot: Snapshot, field: "GradientField") -> "GradientField":
    """A step's gradient, run again, if its loss is the one that was taken down, on every rank.

    Raises:
        WindowError: It is another one.
    """
    if snapshot.loss is None:
        return field
    first, again = snapshot.loss.double(), field.loss.detach().double()
    other = bool((again - first).abs() > LOSS * first.abs() + LOSS_FLOOR) or bool(again.isnan() ^ first.isnan())
    if not problem.ranks.unanimous(not other):
        raise WindowError(
            f"a step's loss was {float(first):.6g}, and {float(again):.6g} when it was run again from the same state: "
            "it depends on something that could not be put back"
        )
    return field


def check_one(
    problem: Problem, snapshot: Snapshot, gradients: Sequence[Tensor | None], after: InnerState, turn: int
) -> None:
    """Check that one parameter's update, or a part of it, led to the next state: in turn each of them.

    A whole update takes many passes over memory, and is checked at a window's first and last step.

    Args:
        problem: The bilevel problem.
        snapshot: The inner step, with its state.
        gradients: By which it was taken, clipped.
        after: The state in which the step after it started.
        turn: Which parameter's turn it is, counted from any step.

    Raises:
        WindowError: It did not; the parameter is named.
    """
    start = snapshot.start
    place = turn % len(gradients)
    gradient = gradients[place]
    if gradient is None:
        return
    whole = start.parameters[place].numel() <= CHUNK or not problem.rule.elementwise
    part: Callable[[Tensor], Tensor] = _all if whole else partial(_chunk, turn=turn)
    before, later = start.slots[place], after.slots[place]
    options = snapshot.options[problem.group_of[place]]
    parameter, held = part(start.parameters[place]), {name: part(slot) for name, slot in before.items()}
    updated, slots = problem.rule.update(parameter, part(gradient), held, start.steps[place], options)
    checked = [(updated, part(after.parameters[place]), parameter)]
    checked += [(s, part(later[n]), held.get(n, torch.zeros_like(s))) for n, s in slots.items() if n in later]
    share = SHARE if problem.rule.elementwise else ROUNDED_SHARE
    for triple in checked:
        if not torch.equal(triple[0], triple[1]) and (off := _off(triple, share)) > 0:
            raise WindowError(_astray(problem, place, off))


def _all(tensor: Tensor) -> Tensor:
    return tensor


def _chunk(tensor: Tensor, turn: int) -> Tensor:
    """Some consecutive entries of memory, others at every turn."""
    flat = tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
    first = (turn * CHUNK) % max(1, tensor.numel() - CHUNK)
    return flat[first : first + CHUNK]


def check_update(problem: Problem, bucket: Bucket, taken: Update, after: InnerState) -> None:
    """Check that an update led to the next state.

    Args:
        problem: The bilevel problem.
        bucket: Whose parameters were updated.
        taken: The update, by the gradient that is differentiated.
        after: The state in which the step after it started, or the window ended.

    Raises:
        WindowError: It did not; the first parameter that is elsewhere is named.
    """
    updated, slots = problem.rule.update(taken.parameter, taken.gradient, taken.slots, taken.step, taken.options)
    found = bucket.flat([after.parameters[place] for place in bucket.places])
    held = taken.after or {}
    names = [name for name in slots if name in held]
    if torch.equal(updated, found) and all(torch.equal(slots[name], held[name]) for name in names):
        return
    checked = [(updated, found, taken.parameter)]
    checked += [(slots[n], held[n], taken.slots.get(n, torch.zeros_like(updated))) for n in names]
    share = SHARE if problem.rule.elementwise else ROUNDED_SHARE
    for triple in checked:
        for place, *parts in zip(bucket.places, *map(bucket.apart, triple), strict=True):
            if (off := _off(parts, share)) > 0:
                raise WindowError(_astray(problem, place, off))


def check_still(problem: Problem, snapshot: Snapshot, gradients: Sequence[Tensor | None], after: InnerState) -> None:
    """Check that parameters without a gradient stayed where they were.

    Raises:
        WindowError: One did not.
    """
    for place, gradient in enumerate(gradients):
        if gradient is None and not torch.equal(snapshot.start.parameters[place], after.parameters[place]):
            raise WindowError(_astray(problem, place, 1.0))


def _astray(problem: Problem, place: int, off: float) -> str:
    name = problem.name_of(problem.parameters[place])
    return (
        f"the step that {name!r} took is off by {off:.2g} of its length from what the optimizer makes of the loss's "
        "gradient: something else writes to it or to its gradient (a hook, a clamp between steps, another optimizer)"
    )


def _off(parts: Sequence[Tensor], share: float) -> float:
    """By what share of its step a tensor is elsewhere than expected, found after a start; 0 within rounding."""
    expected, found, start = parts
    error, step, size = (float(torch.linalg.vector_norm(t.double())) for t in (expected - found, found - start, found))
    rounding = ULPS * torch.finfo(found.dtype).eps * size
    if error <= share * step + rounding or (error != error and expected.isnan().equal(found.isnan())):
        return 0.0
    return error / step if step > 0 and error == error else float("inf")
