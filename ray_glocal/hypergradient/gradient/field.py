"""The gradient of an inner step with its graph: exact Hessian products, reverse over reverse."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.kernels import twice_differentiable
from ray_glocal.hypergradient.problem.hooks import without_hooks
from ray_glocal.hypergradient.problem.losses import check_graph
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.statistics import readings, running, updated
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.trouble import NoSecondDerivativeError

Gradients = tuple[Tensor | None, ...]

# Of what torch raises where there is no second derivative.
REFUSALS = ("is not implemented", "once_differentiable", "ouble backward", "does not support", "not supported for")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PulledBack:
    """Cotangents that went back from a gradient to what it was computed from.

    Args:
        parameters: In the parameters.
        hyper: In the hyperparameters that the loss reads, by name.
        statistics: In the running statistics ahead of the step.
    """

    parameters: list[Tensor]
    hyper: Mapping[str, Tensor]
    statistics: list[Tensor]

    def __add__(self, other: "PulledBack") -> "PulledBack":
        """Sum of both in parameters and hyperparameters; statistics are the other's."""
        parameters = [a + b for a, b in zip(self.parameters, other.parameters, strict=True)]
        hyper = {name: value + other.hyper[name] for name, value in self.hyper.items()}
        return PulledBack(parameters, hyper, other.statistics)


def vector_jacobian(outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> list[Tensor]:
    """Vector-Jacobian product with zeros where nothing depends; the graph is kept."""
    live = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not live:
        return [torch.zeros_like(x) for x in inputs]
    outputs, weights = [o for o, _ in live], [c for _, c in live]
    with refusals(), without_hooks(inputs):
        found = torch.autograd.grad(outputs, inputs, weights, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if f is None else f for x, f in zip(inputs, found, strict=True)]


@contextmanager
def refusals() -> Iterator[None]:
    """Say in our words that a function has no second derivative, which torch says in several of its own.

    Raises:
        NoSecondDerivativeError: It has none.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in REFUSALS):
            raise
        raise NoSecondDerivativeError(f"torch cannot differentiate a training loss twice: {error}") from error


def hessian_products(
    gradients: Sequence[Tensor], parameters: Sequence[Tensor], tangents: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """Products [q, ...] of the Hessian with several tangents [q, ...] from one graph, which is kept.

    All at once where torch can batch the graph's operations, some of which it cannot; else one after the other.
    """
    derive = partial(torch.autograd.grad, gradients, parameters, allow_unused=True, retain_graph=True)
    with refusals(), without_hooks(parameters):
        try:
            return derive(tangents, is_grads_batched=True)
        except RuntimeError as error:
            logger.debug("Hessian products are computed one after the other: %s", error)
        rows = [derive([tangent[i] for tangent in tangents]) for i in range(len(tangents[0]))]
    return [None if column[0] is None else torch.stack(column) for column in zip(*rows, strict=True)]


def jacobian_products(
    gradients: Sequence[Tensor], parameters: Sequence[Tensor], tangents: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Products [q, ...] of a gradient's derivative that is no Hessian, by differentiating its transpose product."""
    probes = [torch.zeros_like(gradient, requires_grad=True) for gradient in gradients]
    with refusals(), without_hooks(parameters):
        row = torch.autograd.grad(gradients, parameters, probes, create_graph=True, allow_unused=True)
    live = [(r, t) for r, t in zip(row, tangents, strict=True) if r is not None]
    rows = [vector_jacobian([r for r, _ in live], probes, [t[i] for _, t in live]) for i in range(len(tangents[0]))]
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def added(total: Gradients, more: Gradients) -> Gradients:
    """Sum of gradients, any of which may be None, in the order in which torch accumulates them."""
    pairs = zip(total, more, strict=True)
    return tuple(new if old is None else old if new is None else old + new for old, new in pairs)


def shared(loss: Tensor, parts: int, scale: float) -> Tensor:
    """What a micro-batch's loss adds to that of a step of so many, as its backward pass is scaled."""
    loss = loss / parts if parts > 1 else loss
    return loss * scale if scale != 1 else loss


def unscaled(gradients: Gradients, scale: float) -> Gradients:
    """Gradients of a scaled loss as those of the loss."""
    return gradients if scale == 1 else tuple(None if g is None else g / scale for g in gradients)


@dataclass(frozen=True)
class GradientField:
    """Training gradient and running statistics of one inner step, or of some of its micro-batches, with their graph.

    Args:
        parameters: Leaves of the graph, in the order of the problem's.
        leaves: Hyperparameters in the graph: those that the loss reads.
        loss: Training loss.
        gradients: None where a parameter takes no part in the loss.
        before: Running statistics ahead of the step, leaves of the graph.
        after: Running statistics after it.
    """

    parameters: Sequence[Tensor]
    leaves: Mapping[str, Tensor]
    loss: Tensor
    gradients: Gradients
    before: Sequence[Tensor]
    after: Sequence[Tensor]

    @classmethod
    def of(cls, problem: Problem, snapshot: Snapshot, parts: Sequence[Any] | None = None) -> "GradientField":
        """Differentiate a step's training loss in the parameters, graph kept.

        Args:
            problem: The bilevel problem, its model placed at the snapshot.
            snapshot: The inner step.
            parts: Its micro-batches, some or all; by default all of a copy of the snapshot's.
        """
        parameters, leaves = problem.parameters, problem.leaves(snapshot.values, differentiable=True)
        before = [statistic.requires_grad_() for statistic in running(problem.statistics)]
        parts = problem.parts(owned(snapshot.batch)) if parts is None else parts
        kernels = twice_differentiable(problem.model, substituting=problem.substitutes)
        with kernels as ours, problem.ranks.apart(), readings(problem.statistics) as seen:
            losses: list[Tensor] = []
            total: Gradients = (None,) * len(parameters)
            for part in parts:
                loss = problem.train(part, leaves)
                check_graph("train_loss", loss)
                losses.append(loss)
                share = shared(loss, problem.accumulate, snapshot.scale)
                total = added(total, torch.autograd.grad(share, parameters, create_graph=True, allow_unused=True))
        problem.substitutes = ours is not None and ours.used
        total = snapshot.trained(unscaled(total, snapshot.scale))
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return cls(parameters, leaves, loss, total, before, updated(before, seen))

    @property
    def inputs(self) -> list[Tensor]:
        """Parameters, hyperparameters and running statistics ahead of the step."""
        return [*self.parameters, *self.leaves.values(), *self.before]

    def pull_back(self, cotangents: Sequence[Tensor], statistics: Sequence[Tensor]) -> PulledBack:
        """Cotangents from ones in the gradient and in the statistics after the step."""
        used = [(g, c) for g, c in zip(self.gradients, cotangents, strict=True) if g is not None]
        used += zip(self.after, statistics, strict=True)
        found = vector_jacobian([o for o, _ in used], self.inputs, [c for _, c in used])
        first, last = len(self.parameters), len(found) - len(self.before)
        return PulledBack(found[:first], dict(zip(self.leaves, found[first:last], strict=True)), found[last:])

    def push_forward(self, problem: Problem, tangents: Sequence[Tensor]) -> list[Tensor]:
        """Tangents [q, ...] of the gradient: Hessian products plus direct terms."""
        pairs = zip(self.gradients, tangents, strict=True)
        used = [(gradient, tangent) for gradient, tangent in pairs if gradient is not None and gradient.requires_grad]
        moved = [torch.zeros_like(tangent) for tangent in tangents]
        if used:
            gradients, along = [g for g, _ in used], [t for _, t in used]
            found: Sequence[Tensor | None]
            if problem.symmetric:  # a Hessian is its own transpose
                found = hessian_products(gradients, self.parameters, along)
            else:
                own = iter(jacobian_products(gradients, self.parameters, tangents))
                found = [None if g is None or not g.requires_grad else next(own) for g in self.gradients]
            moved = [m if f is None else f.to(m.dtype) for m, f in zip(moved, found, strict=True)]
        for index, row in self._direct_columns(problem):
            for tangent, column in zip(moved, row, strict=True):
                tangent[index] += column
        return moved

    def push_statistics(
        self, problem: Problem, tangents: Sequence[Tensor], statistics: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Tangents [q, ...] of the statistics after the step, by differentiating their transpose product."""
        if not self.after:
            return ()
        probes = [torch.zeros_like(statistic, requires_grad=True) for statistic in self.after]
        found = torch.autograd.grad(self.after, self.inputs, probes, create_graph=True, allow_unused=True)
        every = [*tangents, *problem.units(self.leaves), *statistics]
        moving = [(f, t) for f, t in zip(found, every, strict=True) if f is not None]
        rows = [vector_jacobian([f for f, _ in moving], probes, [t[i] for _, t in moving]) for i in range(problem.size)]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _direct_columns(self, problem: Problem) -> Iterator[tuple[int, list[Tensor]]]:
        """Derivative of the gradient in each loss hyperparameter's entry, by differentiating its transpose product."""
        probes = [torch.zeros_like(p, requires_grad=True) for p in self.parameters]
        used = [(g, v) for g, v in zip(self.gradients, probes, strict=True) if g is not None and g.requires_grad]
        outputs, weights = [g for g, _ in used], [v for _, v in used]
        for name, leaf in self.leaves.items() if used else ():
            (row,) = torch.autograd.grad(outputs, [leaf], weights, create_graph=True, allow_unused=True)
            if row is not None and row.requires_grad:
                first = problem.places[name].start
                for i, entry in enumerate(row.flatten()):
                    yield first + i, vector_jacobian([entry], probes, [torch.ones_like(entry)])
