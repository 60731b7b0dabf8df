"""Whether automatic differentiation knows all of how a step's gradient depends on the parameters.

It does not where part of a loss is detached, where a number was read off a tensor, or where a function's or a hook's
backward pass cannot be differentiated itself: torch then gives a second derivative without a word, and another one. So
products of the gradient's derivative J are held against differences of the gradient: u J v must be the same either way.
In single precision kinks and rounding would hide it, so the step is run in double precision, on copies.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import gradient_hooks, held_buffers, held_parameters, is_compiled
from ray_glocal.hypergradient.gradient.field import GradientField, vector_jacobian
from ray_glocal.hypergradient.gradient.slope import loss_gradients
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot
from ray_glocal.hypergradient.trouble import NoSecondDerivativeError
from ray_glocal.hypergradient.tuning import LARGEST, SHORT_LENGTHS, SHORT_RESTING, UNSURE

Move = Callable[[Sequence[Tensor], float], None]  # along a direction, and how far


@dataclass(frozen=True)
class Consistency:
    """How exact products compare with differences.

    Args:
        missing: Relative difference of the two; infinite where there are no exact products, NaN where rounding, kinks
            or a model that knows no double precision leave it open.
        asymmetry: By how much u J v and v J u differ, by differences; no Hessian where they do.
    """

    missing: float = float("nan")
    asymmetry: float = float("nan")

    @property
    def known(self) -> bool:
        """Whether anything was found."""
        return self.missing == self.missing


def consistency(problem: Problem, snapshot: Snapshot) -> Consistency:
    """Hold exact products of a step against differences of its gradient; the model comes back as it was.

    Args:
        problem: The bilevel problem.
        snapshot: An inner step, with its state.
    """
    if not _checkable(problem):
        return Consistency()
    step = replace(snapshot, batch=_doubled(owned(snapshot.batch)), scale=1.0, field=None)
    with problem.preserved():
        problem.place(snapshot.start)
        with _in_double(problem) as (twin, hang):
            try:
                return _measured(twin, step, hang)
            except (RuntimeError, TypeError):  # the model knows no double precision: nothing is found
                return Consistency()


def _checkable(problem: Problem) -> bool:
    return (
        sum(p.numel() for p in problem.parameters) <= LARGEST
        and problem.ranks.count == 1
        and not is_compiled(problem.model)
    )


def outer_consistency(problem: Problem, batches: Sequence[Any], values: Values) -> float:
    """Relative difference of a validation gradient and differences of the validation loss; NaN where it is not known.

    Args:
        problem: The bilevel problem, its model where the gradient is taken; it comes back as it was.
        batches: Batches of the outer loss.
        values: Hyperparameter values.
    """
    if not _checkable(problem):
        return math.nan
    batches = [_doubled(owned(batch)) for batch in batches]
    with problem.preserved() as state, _in_double(problem) as (twin, hang):
        at = _mover(twin, state, hang)
        try:
            at([], 0.0)
            exact = twin.outer_gradient(batches, values).parameters
            along = _directions([p.detach() for p in twin.parameters])[0]
            near, far = (_slope(twin, at, along, length, batches, values) for length in SHORT_LENGTHS)
        except (RuntimeError, TypeError):  # as above
            return math.nan
    known = _dot(exact, along)
    size = max(abs(near), abs(known))
    if size == 0.0 or abs(near - far) > UNSURE * size:
        return math.nan
    return abs(near - known) / size


def _slope(
    twin: Problem, at: Move, along: Sequence[Tensor], length: float, batches: Sequence[Any], values: Values
) -> float:
    ends = []
    for sign in (1.0, -1.0):
        at(along, sign * length)
        ends.append(twin.mean_val_loss(batches, values))
    return (ends[0] - ends[1]) / (2 * length)


def _mover(twin: Problem, state: InnerState, hang: Callable[[], None]) -> Move:
    """What puts a twin to a state, some way along a direction."""
    start = [parameter.detach().clone() for parameter in twin.parameters]
    buffers = [buffer.clone() for buffer in twin.model.buffers()]

    @torch.no_grad()
    def move(along: Sequence[Tensor], length: float) -> None:
        if state.surroundings is not None:
            state.surroundings.restore()
            hang()
        for parameter, origin in zip(twin.parameters, start, strict=True):
            parameter.copy_(origin)
        for parameter, direction in zip(twin.parameters, along, strict=False):
            parameter.add_(direction, alpha=length)
        for buffer, origin in zip(twin.model.buffers(), buffers, strict=True):
            if not torch.equal(buffer, origin):  # a kept graph may lead to it
                buffer.copy_(origin)
        state.randomness.restore()

    return move


def _measured(twin: Problem, step: Snapshot, hang: Callable[[], None]) -> Consistency:
    start = [parameter.detach().clone() for parameter in twin.parameters]
    at = _mover(twin, step.start, hang)

    def change(along: Sequence[Tensor], length: float) -> list[Tensor]:
        ends = []
        for sign in (1.0, -1.0):
            at(along, sign * length)
            found = loss_gradients(twin, step, twin.leaves(step.values, differentiable=True))
            ends.append([torch.zeros_like(p) if f is None else f for f, p in zip(found, start, strict=False)])
        return [(high - low) / (2 * length) for high, low in zip(*ends, strict=True)]

    directions = _directions(start)
    at([], 0.0)
    exact = _exact(twin, step, directions)
    moved = [change(v, SHORT_LENGTHS[0]) for v in directions]
    near = [[_dot(u, each) for each in moved] for u in directions]
    far = _dot(directions[0], change(directions[0], SHORT_LENGTHS[1]))
    known = [[_dot(e, v) for v in directions] for e in exact]
    size = sum(max(abs(a), abs(b)) for a, b in _pairs(near, known or near))
    if size == 0.0:
        return Consistency(0.0, 0.0)
    if abs(near[0][0] - far) > UNSURE * size:
        return Consistency()
    turned = [list(column) for column in zip(*near, strict=True)]
    return Consistency(_distance(near, known) / size if known else math.inf, _distance(near, turned) / size)


def _exact(twin: Problem, step: Snapshot, directions: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Products of J with directions, transposed; none where torch knows none."""
    try:
        field = GradientField.of(twin, step, twin.parts(owned(step.batch)))
        used = [(g, place) for place, g in enumerate(field.gradients) if g is not None]
        outputs, inputs = [g for g, _ in used], list(field.parameters)
        return [vector_jacobian(outputs, inputs, [u[i] for _, i in used]) for u in directions]
    except (NoSecondDerivativeError, ArgumentError):  # by its graph, or by a call
        return []


def _directions(like: Sequence[Tensor]) -> list[list[Tensor]]:
    """Two, along which every parameter moves by its own size; the same whatever was drawn before."""
    made = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p) for p in like]
        made.append([d * (p.square().mean().sqrt() + SHORT_RESTING) for d, p in zip(drawn, like, strict=True)])
    return made


def _dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    return float(sum(torch.sum(a * b) for a, b in zip(left, right, strict=True)))


def _pairs(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> Iterator[tuple[float, float]]:
    for row, other in zip(left, right, strict=True):
        yield from zip(row, other, strict=True)


def _distance(left: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> float:
    return sum(abs(a - b) for a, b in _pairs(left, right))


def _doubled(value: Any) -> Any:
    """A batch with its numbers in double precision."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if type(value) in (list, tuple):
        return type(value)(_doubled(item) for item in value)
    if type(value) is dict:
        return {key: _doubled(item) for key, item in value.items()}
    return value


@contextmanager
def _in_double(problem: Problem) -> Iterator[tuple[Problem, Callable[[], None]]]:
    """A twin of the problem whose model holds copies of its parameters and buffers in double precision.

    And what hangs them into the model again, where surroundings that were put back have taken them out.
    """
    twins: dict[int, Tensor] = {}
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (held, name, tensor)
        for module in problem.model.modules()
        for held in (held_parameters(module), held_buffers(module))
        for name, tensor in held.items()
        if tensor is not None
    ]
    if all(tensor.dtype == torch.float64 for _, _, tensor in places if tensor.is_floating_point()):
        places = []  # who holds a parameter elsewhere, in a list say, is heard too
    for _, _, tensor in places:
        if id(tensor) not in twins:
            wide = tensor.detach().clone()
            wide = wide.double() if tensor.is_floating_point() else wide
            own = isinstance(tensor, nn.Parameter)
            twins[id(tensor)] = nn.Parameter(wide, tensor.requires_grad) if own else wide
            for hook in (gradient_hooks(tensor) or {}).values():
                twins[id(tensor)].register_hook(hook)  # type: ignore[no-untyped-call]
    twin = copy.copy(problem)
    twin.parameters = tuple(twins.get(id(p), p) for p in problem.parameters)
    twin.statistics, twin.scaler, twin._sent, twin.reads = [], None, {}, set()

    def hang() -> None:
        for held, name, tensor in places:
            held[name] = twins[id(tensor)]

    try:
        hang()
        yield twin, hang
    finally:
        for held, name, tensor in places:
            held[name] = tensor
