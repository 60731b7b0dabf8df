"""Derivatives of one inner step: pulled back (adjoint) and pushed forward (tangent).

An inner step is two maps: parameters and loss hyperparameters to a gradient, then an elementwise update rule. The
first needs Hessian products, the second only elementwise derivatives; each is differentiated on its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.buckets import Bucket, buckets
from ray_glocal.hypergradient.kernels import twice_differentiable
from ray_glocal.hypergradient.problem import Problem, Snapshot, check_graph
from ray_glocal.hypergradient.rules import Slots
from ray_glocal.hypergradient.statistics import readings, running, updated


@dataclass(frozen=True)
class Carrier:
    """An adjoint (or tangents stacked in the first dimension) of parameters, optimizer buffers, running statistics."""

    parameters: tuple[Tensor, ...]
    slots: tuple[Slots, ...]
    statistics: tuple[Tensor, ...]


def vector_jacobian(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> list[Tensor]:
    """Vector-Jacobian product with zeros where nothing depends; the graph is kept."""
    live = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not live:
        return [torch.zeros_like(x) for x in inputs]
    found = torch.autograd.grad(
        [o for o, _ in live], inputs, [c for _, c in live], allow_unused=True, retain_graph=True
    )
    return [torch.zeros_like(x) if f is None else f for x, f in zip(inputs, found, strict=True)]


@dataclass(frozen=True)
class GradientField:
    """Training gradient and running statistics of one inner step with their graph.

    Args:
        parameters: Leaves of the graph, in the order of the problem's.
        leaves: Hyperparameters in the graph.
        loss: Training loss.
        gradients: None where a parameter takes no part in the loss.
        before: Running statistics ahead of the step, leaves of the graph.
        after: Running statistics after it.
    """

    parameters: Sequence[Tensor]
    leaves: Mapping[str, Tensor]
    loss: Tensor
    gradients: tuple[Tensor | None, ...]
    before: Sequence[Tensor]
    after: Sequence[Tensor]

    @classmethod
    def at(cls, problem: Problem, snapshot: Snapshot) -> "GradientField":
        """The field that was kept of a recorded step, or else the step run again, the model placed there."""
        if snapshot.field is not None:
            kept: GradientField = snapshot.field
            return kept
        problem.place(snapshot.state)
        return cls.of(problem, snapshot, problem.parameters)

    @classmethod
    def of(cls, problem: Problem, snapshot: Snapshot, parameters: Sequence[Tensor]) -> "GradientField":
        """Differentiate a step's training loss in the parameters that the model holds, graph kept."""
        leaves = problem.leaves(snapshot.values, differentiable=True)
        before = [statistic.requires_grad_() for statistic in running(problem.norms)]
        with twice_differentiable(problem.model):
            with readings(problem.norms) as seen:
                loss = problem.train(snapshot.batch, leaves)
            check_graph("train_loss", loss)
            found = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        return cls(parameters, leaves, loss, found, before, updated(problem.norms, before, seen))

    @property
    def inputs(self) -> list[Tensor]:
        """Parameters, hyperparameters and running statistics ahead of the step."""
        return [*self.parameters, *self.leaves.values(), *self.before]

    def pull_back(
        self, cotangents: Sequence[Tensor], statistics: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Cotangents in parameters, hyperparameters and earlier statistics, from ones in gradient and statistics."""
        used = [(g, c) for g, c in zip(self.gradients, cotangents, strict=True) if g is not None]
        used += zip(self.after, statistics, strict=True)
        found = vector_jacobian([o for o, _ in used], self.inputs, [c for _, c in used])
        first, last = len(self.parameters), len(found) - len(self.before)
        return found[:first], found[first:last], found[last:]

    def push_forward(self, problem: Problem, tangents: Sequence[Tensor]) -> list[Tensor]:
        """Tangents [q, ...] of the gradient: Hessian products (the Hessian is its own transpose) plus direct terms."""
        still = [torch.zeros_like(statistic) for statistic in self.after]
        rows = [self.pull_back([t[i] for t in tangents], still)[0] for i in range(problem.size)]
        moved = [torch.stack(column) for column in zip(*rows, strict=True)]
        for index, row in self._direct_columns(problem):
            for tangent, column in zip(moved, row, strict=True):
                tangent[index] += column
        return moved

    def push_statistics(self, tangents: Sequence[Tensor], statistics: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Tangents [q, ...] of the statistics after the step, by differentiating their transpose product."""
        if not self.after:
            return ()
        probes = [torch.zeros_like(statistic, requires_grad=True) for statistic in self.after]
        found = torch.autograd.grad(self.after, self.inputs, probes, create_graph=True, allow_unused=True)
        sizes = [leaf.numel() for leaf in self.leaves.values()]
        units = torch.split(torch.eye(sum(sizes), dtype=torch.float64, device=probes[0].device), sizes, dim=1)
        hyper = [u.reshape(-1, *leaf.shape).to(leaf.dtype) for u, leaf in zip(units, self.leaves.values(), strict=True)]
        moving = [(f, t) for f, t in zip(found, [*tangents, *hyper, *statistics], strict=True) if f is not None]
        rows = [vector_jacobian([f for f, _ in moving], probes, [t[i] for _, t in moving]) for i in range(sum(sizes))]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _direct_columns(self, problem: Problem) -> list[tuple[int, list[Tensor]]]:
        """Derivative of the gradient in each loss hyperparameter's entry, by differentiating its transpose product."""
        probes = [torch.zeros_like(p, requires_grad=True) for p in self.parameters]
        used = [(g, v) for g, v in zip(self.gradients, probes, strict=True) if g is not None and g.requires_grad]
        columns, offset = [], 0
        for binding, leaf in zip(problem.bindings, self.leaves.values(), strict=True):
            if binding.field is None and used:
                outputs, weights = [g for g, _ in used], [v for _, v in used]
                (row,) = torch.autograd.grad(outputs, [leaf], weights, create_graph=True, allow_unused=True)
                if row is not None and row.requires_grad:
                    flat = row.flatten()
                    columns += [
                        (offset + i, vector_jacobian([e], probes, [torch.ones_like(e)])) for i, e in enumerate(flat)
                    ]
            offset += leaf.numel()
        return columns


def group_options(problem: Problem, snapshot: Snapshot, leaves: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Options of each group with the adapted ones replaced by tensors; a schedule's factor stays in the lr."""
    options = [dict(recorded) for recorded in snapshot.options]
    for binding in problem.bindings:
        name = binding.hyperparameter.name
        for index in binding.groups:
            assert binding.field is not None
            factor = _schedule_factor(options[index], snapshot.values[name]) if binding.field == "lr" else 1.0
            options[index][binding.field] = leaves[name] * factor
    return options


def _schedule_factor(options: Mapping[str, Any], rate: Tensor) -> float:
    """What a schedule had multiplied the adapted learning rate by."""
    if float(rate) == 0:
        remedy = "Differentiate at a small positive rate instead."
        raise ArgumentError("values", "hold learning rates other than zero where a window is recorded", 0.0, remedy)
    return float(options["lr"]) / float(rate)


def pull_back_step(problem: Problem, snapshot: Snapshot, carrier: Carrier) -> tuple[Carrier, Tensor]:
    """Pull an adjoint back through one inner step.

    Args:
        problem: The bilevel problem; its model is left at the snapshot.
        snapshot: The inner step.
        carrier: Adjoint of the state after the step.

    Returns:
        Adjoint of the state before the step, and the step's contribution to the hypergradient, shape [q].
    """
    field = GradientField.at(problem, snapshot)
    leaves = problem.leaves(snapshot.values, differentiable=True)
    options = group_options(problem, snapshot, leaves)
    through_rule, slots = list(carrier.parameters), list(carrier.slots)  # as they are where torch skips a parameter
    cotangents = [torch.zeros_like(p) for p in problem.parameters]
    hyper = [torch.zeros_like(leaf) for leaf in leaves.values()]
    for bucket in buckets(problem, snapshot, field.gradients):
        pulled, own = _pull_back_rule(problem, snapshot, bucket, field.gradients, options, leaves, carrier)
        apart = [bucket.apart(flat) for flat in (*pulled[:2], *own.values())]
        for i, parameter, gradient, *buffers in zip(bucket.places, *apart, strict=True):
            through_rule[i], cotangents[i] = parameter, gradient
            slots[i] = dict(zip(own, buffers, strict=True))
        hyper = [total + part for total, part in zip(hyper, pulled[2:], strict=True)]
    with twice_differentiable(problem.model):  # checkpointed layers run once more, and must run alike
        through_gradient, direct, statistics = field.pull_back(cotangents, carrier.statistics)
    parameters = tuple((a + b).detach() for a, b in zip(through_rule, through_gradient, strict=True))
    contribution = torch.cat([(a + b).detach().double().flatten() for a, b in zip(hyper, direct, strict=True)])
    return Carrier(parameters, tuple(slots), tuple(statistics)), contribution


def _pull_back_rule(
    problem: Problem,
    snapshot: Snapshot,
    bucket: Bucket,
    gradients: Sequence[Tensor | None],
    options: Sequence[Mapping[str, Any]],
    leaves: Mapping[str, Tensor],
    carrier: Carrier,
) -> tuple[list[Tensor], Slots]:
    """Pull back through a bucket's update: cotangents [parameter, gradient, *hyper], and of its buffers, flat."""
    state, first = snapshot.state, bucket.places[0]
    parameter = bucket.flat([state.parameters[i].detach() for i in bucket.places]).detach().requires_grad_()
    gradient = bucket.flat(_present(gradients, bucket)).detach().requires_grad_()
    before = {
        name: bucket.flat([state.slots[i][name] for i in bucket.places]).detach().requires_grad_()
        for name in state.slots[first]
    }
    after, slots = problem.rule.update(
        parameter, gradient, before, state.steps[first], options[problem.group_of[first]]
    )
    held = {name: bucket.flat([carrier.slots[i][name] for i in bucket.places]) for name in carrier.slots[first]}
    weights = [bucket.flat([carrier.parameters[i] for i in bucket.places])]
    weights += [held.get(name, torch.zeros_like(slot)) for name, slot in slots.items()]
    found = vector_jacobian(
        [after, *slots.values()], [parameter, gradient, *leaves.values(), *before.values()], weights
    )
    count = 2 + len(leaves)
    return found[:count], dict(zip(before, found[count:], strict=True))


def _present(gradients: Sequence[Tensor | None], bucket: Bucket) -> list[Tensor]:
    """The gradients of a bucket, all of whose parameters have one."""
    return [gradient for i in bucket.places if (gradient := gradients[i]) is not None]


def push_forward_step(problem: Problem, snapshot: Snapshot, carrier: Carrier) -> Carrier:
    """Push the q tangents of the state, stacked in the first dimension, forward through one inner step."""
    field = GradientField.at(problem, snapshot)
    with twice_differentiable(problem.model):  # checkpointed layers run once more, and must run alike
        moved = field.push_forward(problem, carrier.parameters)
        statistics = field.push_statistics(carrier.parameters, carrier.statistics)
    parameters, slots = list(carrier.parameters), list(carrier.slots)
    for bucket in buckets(problem, snapshot, field.gradients):
        pushed, own = _push_forward_rule(problem, snapshot, bucket, field.gradients, moved, carrier)
        apart = [bucket.apart(flat) for flat in (pushed, *own.values())]
        for i, parameter, *buffers in zip(bucket.places, *apart, strict=True):
            parameters[i], slots[i] = parameter, dict(zip(own, buffers, strict=True))
    return Carrier(tuple(parameters), tuple(slots), statistics)


def _push_forward_rule(
    problem: Problem,
    snapshot: Snapshot,
    bucket: Bucket,
    gradients: Sequence[Tensor | None],
    moved: Sequence[Tensor],
    carrier: Carrier,
) -> tuple[Tensor, Slots]:
    """Push tangents [q, ...] through a bucket's update, flat."""
    state, first = snapshot.state, bucket.places[0]
    names = list(state.slots[first])
    leaves = problem.leaves(snapshot.values, differentiable=False)
    sizes = [leaf.numel() for leaf in leaves.values()]
    gradient = bucket.flat(_present(gradients, bucket)).detach()
    units = torch.split(torch.eye(sum(sizes), dtype=torch.float64, device=gradient.device), sizes, dim=1)
    before = [bucket.flat([state.slots[i][name] for i in bucket.places]) for name in names]
    primals = (bucket.flat([state.parameters[i] for i in bucket.places]), gradient, before, list(leaves.values()))

    def update(parameter: Tensor, grad: Tensor, buffers: list[Tensor], hyper: list[Tensor]) -> tuple[Tensor, Slots]:
        options = group_options(problem, snapshot, dict(zip(leaves, hyper, strict=True)))
        held = dict(zip(names, buffers, strict=True))
        return problem.rule.update(parameter, grad, held, state.steps[first], options[problem.group_of[first]])

    def tangent(parameter: Tensor, grad: Tensor, buffers: list[Tensor], hyper: list[Tensor]) -> tuple[Tensor, Slots]:
        shaped = [h.reshape(leaf.shape).to(leaf.dtype) for h, leaf in zip(hyper, leaves.values(), strict=True)]
        result: tuple[Tensor, Slots] = torch.func.jvp(update, primals, (parameter, grad, buffers, shaped))[1]
        return result

    tangents = bucket.flat([carrier.parameters[i] for i in bucket.places])
    pushed = bucket.flat([moved[i] for i in bucket.places])
    held = [bucket.flat([carrier.slots[i][name] for i in bucket.places]) for name in names]
    result: tuple[Tensor, Slots] = torch.func.vmap(tangent)(tangents, pushed, held, list(units))
    return result
