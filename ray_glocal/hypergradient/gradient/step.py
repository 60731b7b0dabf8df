"""Derivatives of one inner step: pulled back (adjoint) and pushed forward (tangent).

An inner step is three maps: parameters and loss hyperparameters to a gradient, clipping, then the optimizer's update
rule. The first needs Hessian products, the others only first derivatives; each is differentiated on its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import foreach_add, foreach_add_
from ray_glocal.hypergradient.gradient.buckets import Bucket, buckets
from ray_glocal.hypergradient.gradient.field import Gradients
from ray_glocal.hypergradient.gradient.products import EXACT, Linearised, Products
from ray_glocal.hypergradient.gradient.verification import check_one, check_still, check_update
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.rules import Slots, Update
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot


@dataclass(frozen=True)
class Carrier:
    """An adjoint (or tangents stacked in the first dimension) of parameters, optimizer buffers, running statistics."""

    parameters: tuple[Tensor, ...]
    slots: tuple[Slots, ...]
    statistics: tuple[Tensor, ...]


@dataclass
class ThroughRule:
    """What has come back through the optimizer's update so far, bucket after bucket."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    slots: list[Slots]
    options: dict[str, Tensor] = field(default_factory=dict)


def pull_back_step(
    problem: Problem,
    snapshot: Snapshot,
    carrier: Carrier,
    products: Products = EXACT,
    after: InnerState | None = None,
    turn: int | None = None,
    *,
    further: bool = True,
) -> tuple[Carrier, Mapping[str, Tensor]]:
    """Pull an adjoint back through one inner step.

    Args:
        problem: The bilevel problem; its model may be left at the snapshot.
        snapshot: The inner step.
        carrier: Adjoint of the state after the step; it may be overwritten.
        products: Where Hessian products come from.
        after: The state after the step, where it is at hand: then it is checked that the step led to it, and its
            buffers need not be computed again.
        turn: Which parameter alone is checked; all by default.
        further: Whether the adjoint of the state before the step is asked for: a window's first step needs no Hessian
            product for what the optimizer's options contribute.

    Returns:
        Adjoint of the state before the step, any where it is not asked for, and the step's contribution to the
        hypergradient, by name of the hyperparameter; zero where there is none.

    Raises:
        WindowError: The step is not one that the optimizer took by the loss's gradient.
    """
    if not snapshot.taken:  # what running statistics saw of an overflow is nothing to be differentiated
        return carrier, {}
    slope = products.at(problem, snapshot)
    gradients = _taken_by(snapshot, slope)
    clipped = _clipped(problem, gradients)
    with torch.no_grad():
        if after is not None and turn is not None:
            check_one(problem, snapshot, clipped, after, turn)
        through = through_rule(problem, snapshot, clipped, carrier, after, check=turn is None)
        if problem.clipping is not None:
            through.gradients = problem.clipping.pull_back(gradients, through.gradients)
    if not further and not problem.train_reads:
        return carrier, through.options
    with products.kernels(problem):
        back = slope.pull_back(through.gradients, problem.ranks.share(carrier.statistics))
    count, names = len(back.parameters), list(back.hyper)
    joined = problem.ranks.mean([*back.parameters, *back.hyper.values()])
    with torch.no_grad():
        parameters = _sum(through, joined[:count])
    contribution = {**through.options, **dict(zip(names, joined[count:], strict=True))}
    statistics = tuple(s.detach() for s in problem.ranks.shared(back.statistics))
    return Carrier(parameters, tuple(through.slots), statistics), contribution


def _sum(through: ThroughRule, products: list[Tensor]) -> tuple[Tensor, ...]:
    """Cotangents of the parameters with Hessian products added, in place unless memory is shared with other ones."""
    others = [*through.gradients, *(tensor for held in through.slots for tensor in held.values())]
    taken = {tensor.untyped_storage().data_ptr() for tensor in others}
    if any(tensor.untyped_storage().data_ptr() in taken for tensor in through.parameters):
        return tuple(foreach_add(through.parameters, products))
    foreach_add_(through.parameters, products)
    return tuple(through.parameters)


def _taken_by(snapshot: Snapshot, slope: Linearised) -> Gradients:
    """The gradient that a step was taken by, ahead of clipping and without its graph."""
    gradients = slope.gradients if snapshot.slope is None else snapshot.slope.parameters
    return tuple(None if g is None else g.detach() for g in gradients)


def _clipped(problem: Problem, gradients: Gradients) -> Gradients:
    return gradients if problem.clipping is None else problem.clipping.clipped(gradients)


def through_rule(
    problem: Problem,
    snapshot: Snapshot,
    gradients: Sequence[Tensor | None],
    carrier: Carrier,
    after: InnerState | None = None,
    *,
    check: bool = False,
) -> ThroughRule:
    """Pull an adjoint back through the optimizer's update; a parameter that it skipped keeps its own.

    Args:
        problem: The bilevel problem.
        snapshot: The inner step.
        gradients: That the update was taken by, of each parameter.
        carrier: Adjoint of the state after it; it may be overwritten.
        after: That state, where it is at hand.
        check: Whether it is checked that the update led there.
    """
    zeros = [torch.zeros_like(p) if g is None else p for p, g in zip(carrier.parameters, gradients, strict=True)]
    through = ThroughRule(list(carrier.parameters), zeros, list(carrier.slots))
    if after is not None:
        check_still(problem, snapshot, gradients, after)
    for bucket in buckets(problem, snapshot, gradients):
        first = bucket.places[0]
        group = problem.group_of[first]
        adapted = dict(_adapted(problem, snapshot, group))
        taken = update_of(problem, snapshot, bucket, gradients, after)
        if after is not None and check:
            check_update(problem, bucket, taken, after)
        wanted = frozenset(field for field, _ in adapted.values())
        cotangents = bucket.flat([carrier.parameters[i] for i in bucket.places]), bucket.slots(carrier.slots)
        pulled = problem.rule.pull_back(taken, wanted, *cotangents)
        apart = [bucket.apart(flat) for flat in (pulled.parameter, pulled.gradient, *pulled.slots.values())]
        for i, parameter, gradient, *held in zip(bucket.places, *apart, strict=True):
            through.parameters[i], through.gradients[i] = parameter, gradient
            through.slots[i] = dict(zip(pulled.slots, held, strict=True))
        for name, (option, factor) in adapted.items():
            part = pulled.options[option] * factor
            through.options[name] = part + through.options[name] if name in through.options else part
    return through


def update_of(
    problem: Problem,
    snapshot: Snapshot,
    bucket: Bucket,
    gradients: Sequence[Tensor | None],
    after: InnerState | None = None,
) -> Update:
    """The update that a bucket's parameters took, flat."""
    state, first = snapshot.start, bucket.places[0]
    return Update(
        bucket.flat([state.parameters[i] for i in bucket.places]),
        partial(bucket.flat, [g for i in bucket.places if (g := gradients[i]) is not None]),
        bucket.slots(state.slots),
        state.steps[first],
        snapshot.options[problem.group_of[first]],
        None if after is None else bucket.slots(after.slots),
    )


@torch.no_grad()
def check_step(problem: Problem, snapshot: Snapshot, gradients: Sequence[Tensor | None], after: InnerState) -> None:
    """Check that a step, by these gradients, led to the next state.

    Raises:
        WindowError: It did not; a parameter that is elsewhere is named.
    """
    check_still(problem, snapshot, gradients, after)
    for bucket in buckets(problem, snapshot, gradients):
        check_update(problem, bucket, update_of(problem, snapshot, bucket, gradients, after), after)


def _adapted(problem: Problem, snapshot: Snapshot, group: int) -> Iterator[tuple[str, tuple[str, float]]]:
    """Hyperparameters that set options of a parameter group: which, and the factor on it."""
    for binding in problem.bindings:
        if binding.field is not None and group in binding.groups:
            name = binding.hyperparameter.name
            factor = problem.proportion(name, group).slope
            if binding.field == "lr":
                factor = _schedule_factor(snapshot.options[group], snapshot.values[name])
            yield name, (binding.field, factor)


def group_options(problem: Problem, snapshot: Snapshot, leaves: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Options of each group with the adapted ones replaced by tensors; a schedule's factor stays in the lr."""
    options = [dict(recorded) for recorded in snapshot.options]
    for index, held in enumerate(options):
        for name, (option, factor) in _adapted(problem, snapshot, index):
            held[option] = leaves[name] * factor
    return options


def _schedule_factor(options: Mapping[str, Any], rate: Tensor) -> float:
    """What a schedule had multiplied the adapted learning rate by."""
    if float(rate) == 0:
        remedy = "Differentiate at a small positive rate instead."
        raise ArgumentError("values", "hold learning rates other than zero where a window is recorded", 0.0, remedy)
    return float(options["lr"]) / float(rate)


def push_forward_step(
    problem: Problem, snapshot: Snapshot, carrier: Carrier, after: InnerState | None = None
) -> Carrier:
    """Push the q tangents of the state, stacked in the first dimension, forward through one inner step.

    Args:
        problem: The bilevel problem.
        snapshot: The inner step.
        carrier: Tangents of the state before it.
        after: The state after it, where it is at hand: then it is checked that the step led to it.

    Raises:
        WindowError: It did not.
    """
    if not snapshot.taken:
        return carrier
    carrier = _awake(problem, carrier)
    slope = EXACT.whole(problem, snapshot)
    gradients = _taken_by(snapshot, slope)
    with EXACT.kernels(problem):
        moved = problem.ranks.mean(slope.push_forward(problem, carrier.parameters))
        statistics = slope.push_statistics(problem, carrier.parameters, carrier.statistics)
    clipped = _clipped(problem, gradients)
    if after is not None:
        check_step(problem, snapshot, clipped, after)
    if problem.clipping is not None:
        moved = problem.clipping.push_forward(gradients, moved)
    parameters, slots = list(carrier.parameters), list(carrier.slots)
    for bucket in buckets(problem, snapshot, clipped):
        pushed, own = _push_forward_rule(problem, snapshot, bucket, clipped, moved, carrier)
        apart = [bucket.apart(flat) for flat in (pushed, *own.values())]
        for i, parameter, *held in zip(bucket.places, *apart, strict=True):
            parameters[i], slots[i] = parameter, dict(zip(own, held, strict=True))
    return Carrier(tuple(parameters), tuple(slots), statistics)


def _awake(problem: Problem, carrier: Carrier) -> Carrier:
    """Tangents in the precision of what they are tangents of."""
    pairs = list(zip(carrier.parameters, problem.parameters, strict=True))
    slots = tuple(
        {name: tangent.to(parameter.dtype) for name, tangent in held.items()}
        for held, (_, parameter) in zip(carrier.slots, pairs, strict=True)
    )
    return Carrier(tuple(tangent.to(p.dtype) for tangent, p in pairs), slots, carrier.statistics)


def _push_forward_rule(
    problem: Problem,
    snapshot: Snapshot,
    bucket: Bucket,
    gradients: Sequence[Tensor | None],
    moved: Sequence[Tensor],
    carrier: Carrier,
) -> tuple[Tensor, Slots]:
    """Push tangents [q, ...] through a bucket's update, flat."""
    state, first = snapshot.start, bucket.places[0]
    names, leaves = list(state.slots[first]), problem.option_leaves(snapshot.values)
    before = [bucket.flat([state.slots[i][name] for i in bucket.places]) for name in names]
    gradient = bucket.flat([g for i in bucket.places if (g := gradients[i]) is not None])
    primals = (bucket.flat([state.parameters[i] for i in bucket.places]), gradient, before, list(leaves.values()))

    def update(parameter: Tensor, grad: Tensor, buffers: list[Tensor], hyper: list[Tensor]) -> tuple[Tensor, Slots]:
        options = group_options(problem, snapshot, dict(zip(leaves, hyper, strict=True)))
        held = dict(zip(names, buffers, strict=True))
        return problem.rule.update(parameter, grad, held, state.steps[first], options[problem.group_of[first]])

    def tangent(parameter: Tensor, grad: Tensor, buffers: list[Tensor], hyper: list[Tensor]) -> tuple[Tensor, Slots]:
        result: tuple[Tensor, Slots] = torch.func.jvp(update, primals, (parameter, grad, buffers, hyper))[1]
        return result

    tangents = bucket.flat([carrier.parameters[i] for i in bucket.places])
    pushed = bucket.flat([moved[i] for i in bucket.places])
    held = [bucket.flat([carrier.slots[i][name] for i in bucket.places]) for name in names]
    result: tuple[Tensor, Slots] = torch.func.vmap(tangent)(tangents, pushed, held, problem.units(leaves))
    return result
