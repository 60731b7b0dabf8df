"""Hessian products by differences: one more gradient a step, by whatever kernels the plain step uses.

Pearlmutter 1994 names the scheme and its weakness: the step must be small against curvature and large against
rounding. So its length is chosen, and the products are checked, against exact ones on the problem itself.
"""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import foreach_norm
from ray_glocal.hypergradient.gradient.consistency import consistency
from ray_glocal.hypergradient.gradient.field import PulledBack
from ray_glocal.hypergradient.gradient.graph import once_differentiable, wrong_twice
from ray_glocal.hypergradient.gradient.products import EXACT, Linearised, Products
from ray_glocal.hypergradient.gradient.slope import loss_gradients
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.statistics import running
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.hypergradient.state.snapshot import Slope, Snapshot
from ray_glocal.hypergradient.trouble import NoSecondDerivativeError
from ray_glocal.hypergradient.tuning import ERROR, LEAST_LENGTH, LENGTHS, MISSING, RESTING

ROUGH = 1e-12  # length of tensors whose squares single precision can still add up

Say = Callable[[str, str], object]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Differences:
    """Products by one-sided differences of the training gradient.

    Args:
        length: Length of the step, relative to that of the parameters, positive.
    """

    length: float

    def at(self, problem: Problem, snapshot: Snapshot) -> Linearised:
        """The step's recorded slope, ready to be compared with that nearby."""
        assert snapshot.slope is not None
        return StepDifference(problem, snapshot, snapshot.slope, self.length)

    def kernels(self, problem: Problem) -> AbstractContextManager[object]:
        """The plain step's own."""
        return nullcontext()


@dataclass(frozen=True)
class StepDifference:
    """The gradient of an inner step and those around it.

    Args:
        problem: The bilevel problem.
        snapshot: The inner step, with its state.
        slope: First derivatives there.
        length: Of the step, relative to that of the parameters.
    """

    problem: Problem
    snapshot: Snapshot
    slope: Slope
    length: float

    @property
    def gradients(self) -> tuple[Tensor | None, ...]:
        """The gradient that was recorded."""
        return self.slope.parameters

    def pull_back(self, cotangents: Sequence[Tensor], statistics: Sequence[Tensor]) -> PulledBack:
        """Change of the gradient along the cotangents, over the step; of hyperparameters and statistics likewise."""
        problem, snapshot = self.problem, self.snapshot
        step = self._step(cotangents)
        problem.place(snapshot.start, cotangents, step)
        leaves = problem.leaves(snapshot.values, differentiable=True)
        before = [statistic.requires_grad_() for statistic in running(problem.statistics)]
        found = loss_gradients(problem, snapshot, leaves, before, [step * s for s in statistics])
        bases = [*self.slope.parameters, *(self.slope.hyper.get(name) for name in leaves), *(None for _ in before)]
        inputs = [*problem.parameters, *leaves.values(), *before]
        with torch.no_grad():
            moved = [_change(*each).div_(step.to(each[2])) for each in zip(found, bases, inputs, strict=True)]
        first, last = len(problem.parameters), len(moved) - len(before)
        return PulledBack(moved[:first], dict(zip(leaves, moved[first:last], strict=True)), moved[last:])

    def _step(self, cotangents: Sequence[Tensor]) -> Tensor:
        """What the cotangents are multiplied by, where they lie: asking for it would wait for a GPU."""
        along, parameters = _norm(cotangents), _norm(self.snapshot.start.parameters)
        return self.length * torch.where(along > 0, parameters.clamp_min(LEAST_LENGTH) / along, torch.ones_like(along))


def _change(now: Tensor | None, base: Tensor | None, like: Tensor) -> Tensor:
    """Of a derivative, in memory of its own; zero where there is none."""
    if now is None:
        return torch.zeros_like(like)
    return now.clone() if base is None else now - base


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    """Of all tensors together, in double precision, which squares of small cotangents may need."""
    if tensors[0].device.type == "cpu":  # where double precision takes five times as long
        rough: Tensor = torch.linalg.vector_norm(torch.stack(foreach_norm(list(tensors))), dtype=torch.float64)
        if ROUGH < rough < 1 / ROUGH:
            return rough
    lengths = [torch.linalg.vector_norm(t, dtype=torch.float64).to(tensors[0].device) for t in tensors]
    length: Tensor = torch.linalg.vector_norm(torch.stack(lengths))
    return length


def calibrated(problem: Problem, snapshot: Snapshot, say: Say) -> Products:
    """Differences of the best length for a step, where they agree with exact products.

    They are checked along the step's gradient and, for beside kinks a short step may agree there by luck, along a
    random direction in which every parameter moves by its own size. Where a function has no second derivative there is
    nothing exact: then differences of several lengths must agree with each other.

    Args:
        problem: The bilevel problem; its model may be left placed at the step.
        snapshot: An inner step with its state and its slope.
        say: Told, by a key and a text, why differences are not used.

    Returns:
        `EXACT` where no length comes near enough, as beside kinks or in half precision, or where the gradient is no
        loss's, so that its derivative is not its own transpose.

    Raises:
        ArgumentError: Then there are no exact products either.
    """
    assert snapshot.slope is not None
    own = consistency(problem, snapshot)
    problem.place(snapshot.start)
    obstacle = "exact products that leave something out" if own.missing > MISSING else _obstacle(problem, snapshot)
    errors = _calibration(problem, snapshot, exact=not obstacle)
    best = min(errors, key=errors.__getitem__)
    error = errors[best]
    if error <= ERROR and not own.asymmetry > MISSING:
        logger.info("Hessian products by differences of relative length %.1e err by %.1e.", best, error)
        return Differences(best)
    why = f"err by {error:.2g} at best, beyond {ERROR:g}" if error > ERROR else "are not those of a loss"
    if obstacle and (math.isinf(own.missing) or not own.known):
        got = f"differences that {why}, beside {obstacle}"
        remedy = "Use smooth activations (GELU, not ReLU) and single precision or better, or replace the function."
        raise ArgumentError("products", "be exact where differences are not close", got, remedy)
    text = (
        f"Hessian products by differences {why}; exact ones are used instead. Differences need smooth activations "
        "(GELU, not ReLU) and losses in single precision or better, no part of which is detached."
    )
    say("differences", text)
    return EXACT


def _calibration(problem: Problem, snapshot: Snapshot, *, exact: bool) -> dict[float, float]:
    """Errors of products by length, the worst over directions."""
    assert snapshot.slope is not None
    unit = torch.finfo(problem.parameters[0].dtype).eps ** 0.5
    pairs = zip(problem.parameters, snapshot.slope.parameters, strict=True)
    gradient = [torch.zeros_like(p) if g is None else g for p, g in pairs]
    lengths = [unit * multiple for multiple in LENGTHS]
    measure = _errors if exact else _spreads
    found = [measure(problem, snapshot, along, lengths) for along in (gradient, _random(snapshot))]
    return {length: max(each[length] for each in found) for length in lengths}


def _obstacle(problem: Problem, snapshot: Snapshot) -> str:
    """What has no second derivative in a step; empty where all have one."""
    try:
        field = EXACT.whole(problem, snapshot)
        names = once_differentiable([field.loss], [g for g in field.gradients if g is not None])
        if names or (names := wrong_twice([field.loss])):
            return listed(names)
        pairs = zip(problem.parameters, field.gradients, strict=True)
        along = [torch.zeros_like(p) if g is None else g.detach() for p, g in pairs]
        with EXACT.kernels(problem):
            field.pull_back(along, [torch.zeros_like(statistic) for statistic in field.after])
    except (NoSecondDerivativeError, ArgumentError) as error:  # by its graph, or by a call
        return str(error)
    return ""


def _spreads(
    problem: Problem, snapshot: Snapshot, along: Sequence[Tensor], lengths: Sequence[float]
) -> dict[float, float]:
    """Relative distances of products with a direction to those by the next shorter and the next longer step."""
    still = [torch.zeros_like(statistic) for statistic in running(problem.statistics)]
    products = [_product(problem, snapshot, along, still, length) for length in lengths]
    near = [_relative(a, b) for a, b in pairwise(products)]
    worst = [near[0], *(max(pair) for pair in pairwise(near)), near[-1]]
    return dict(zip(lengths, worst, strict=True))


def _product(
    problem: Problem, snapshot: Snapshot, along: Sequence[Tensor], still: Sequence[Tensor], length: float
) -> list[Tensor]:
    back = Differences(length).at(problem, snapshot).pull_back(along, still)
    return problem.ranks.mean(back.parameters)


def _relative(found: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    error = _norm([a - b for a, b in zip(found, exact, strict=True)])
    return float(error / _norm(exact).clamp_min(1e-300))


def _errors(
    problem: Problem, snapshot: Snapshot, along: Sequence[Tensor], lengths: Sequence[float]
) -> dict[float, float]:
    """Relative errors of products with a direction, by the length of the step."""
    still = [torch.zeros_like(statistic) for statistic in running(problem.statistics)]
    with EXACT.kernels(problem):
        exact = problem.ranks.mean(EXACT.at(problem, snapshot).pull_back(along, still).parameters)
    return {length: _relative(_product(problem, snapshot, along, still, length), exact) for length in lengths}


def _random(snapshot: Snapshot) -> list[Tensor]:
    """A direction, the same whatever was drawn before."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(p.shape, generator=generator).to(p) * (p.square().mean().sqrt() + RESTING)
        for p in snapshot.start.parameters
    ]
