"""Where the Hessian products of an inner step come from: its graph, or a difference of gradients."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ray_glocal.hypergradient.gradient.field import GradientField, PulledBack
from ray_glocal.hypergradient.gradient.verification import same_step
from ray_glocal.hypergradient.kernels import twice_differentiable
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.snapshot import Snapshot


class Linearised(Protocol):
    """The map from parameters, hyperparameters and statistics to a step's gradient, at one point."""

    @property
    def gradients(self) -> tuple[Tensor | None, ...]:
        """The gradient there; None where a parameter takes no part in the loss."""
        ...

    def pull_back(self, cotangents: Sequence[Tensor], statistics: Sequence[Tensor]) -> PulledBack:
        """Cotangents from ones in the gradient and in the running statistics after the step."""
        ...


class Products(Protocol):
    """A way to Hessian products."""

    def at(self, problem: Problem, snapshot: Snapshot) -> Linearised:
        """The step's gradient, ready to be pulled back through; the model may be placed there."""
        ...

    def kernels(self, problem: Problem) -> AbstractContextManager[object]:
        """Which kernels pull back: layers that are checkpointed run once more then, and must run as before."""
        ...


@dataclass(frozen=True)
class Exact:
    """Products by automatic differentiation of the gradient."""

    def at(self, problem: Problem, snapshot: Snapshot) -> Linearised:
        """The graph that was kept, or else that of the step run again: micro-batch by micro-batch where possible."""
        alone = len(problem.parts(snapshot.batch)) == 1 or bool(problem.statistics)  # statistics chain micro-batches
        if snapshot.field is not None or snapshot.slope is None or alone:
            return self.whole(problem, snapshot)
        problem.place(snapshot.start)
        return PartByPart(problem, snapshot, snapshot.slope.parameters)

    def kernels(self, problem: Problem) -> AbstractContextManager[object]:
        """Those that can be differentiated twice."""
        return twice_differentiable(problem.model, substituting=problem.substitutes)

    def whole(self, problem: Problem, snapshot: Snapshot) -> GradientField:
        """The whole step's graph."""
        if snapshot.field is not None:
            kept: GradientField = snapshot.field
            return kept
        problem.place(snapshot.start)
        return same_step(problem, snapshot, GradientField.of(problem, snapshot))


@dataclass(frozen=True)
class PartByPart:
    """A step of several micro-batches, differentiated with the graph of one at a time in memory.

    Args:
        problem: The bilevel problem, its model placed at the snapshot.
        snapshot: The inner step.
        gradients: The step's gradient, known from when it was taken.
    """

    problem: Problem
    snapshot: Snapshot
    gradients: tuple[Tensor | None, ...]

    def pull_back(self, cotangents: Sequence[Tensor], statistics: Sequence[Tensor]) -> PulledBack:
        """Sum of the cotangents that come back through each micro-batch's gradient."""
        problem, snapshot = self.problem, self.snapshot
        first, *others = (
            GradientField.of(problem, snapshot, [part]).pull_back(cotangents, statistics)
            for part in problem.parts(owned(snapshot.batch))
        )
        return sum(others, first)


EXACT = Exact()
