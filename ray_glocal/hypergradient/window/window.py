"""A recorded window of inner steps, and the trajectory of hypergradients it yields."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot
from ray_glocal.hypergradient.window.schedule import Factor, scheduled
from ray_glocal.hypergradient.window.tape import Tape


@dataclass(frozen=True)
class Window:
    """K consecutive inner steps and the state after the last of them."""

    snapshots: tuple[Snapshot, ...]
    end: InnerState
    val_batches: Sequence[Any]

    @property
    def values(self) -> Values:
        """Hyperparameter values that held throughout the window."""
        return self.snapshots[0].values


@dataclass(frozen=True)
class Trajectory:
    """Local hypergradients of one window, in the hyperparameters' values.

    Args:
        derivatives: Shape [K, q], float64 on the CPU. Row k - 1 of a `forward` trajectory is h_k, the effect on the
            loss after k steps of having changed the hyperparameters from the window's start, by the tangents
            Z(k+1) = A(k) Z(k) + B(k) of the parameters (`engines/forward.py`); of a `lag` trajectory, the effect on the
            loss at the window's end of having changed them over the last k steps: the sum of the last k contributions
            c(j) = B(j)' lambda(j+1), where lambda(j) = A(j)' lambda(j+1) comes from the validation gradient at the end
            (`engines/adjoint.py`). A and B are a step's derivatives in parameters and hyperparameters. Both end in h_K.
        loss: Validation loss after the window; NaN where there is trouble.
        kind: Which of the two.
        trouble: The sentence that says why the derivatives, NaN then, are not to be had: what was recorded is not what
            was trained. Empty as a rule.
    """

    derivatives: Tensor
    loss: float
    kind: Literal["forward", "lag"]
    trouble: str = ""

    @classmethod
    def refused(cls, problem: Problem, window: Window, kind: Literal["forward", "lag"], trouble: str) -> "Trajectory":
        """One that carries nothing but the reason."""
        nothing = torch.full((len(window.snapshots), problem.size), math.nan, dtype=torch.float64)
        return cls(nothing, math.nan, kind, trouble)


def record_window(
    problem: Problem,
    batches: Iterable[Any],
    val_batches: Sequence[Any],
    values: Values,
    factors: Sequence[Factor] | None = None,
    *,
    tape: Tape | None = None,
) -> Window:
    """Train on `batches` by plain steps and record each; the model and optimizer are left after the last.

    For scripts, and for `ray_glocal.validate`. A session records its steps as they come, by a `Tape` and a `Recorder`.

    Args:
        problem: The bilevel problem.
        batches: The K batches of the window, in order.
        val_batches: Batches of the outer loss.
        values: Hyperparameter values that hold throughout; written into the optimizer's options first.
        factors: A schedule's factor on the learning rates at each step; by default the present ones stay.
        tape: Takes the steps, and may keep their graphs; by default they are run again when they are differentiated.

    Returns:
        The window, for `adjoint_trajectory` and `forward_trajectory`; it holds K + 1 copies of parameters and buffers.

    Raises:
        ArgumentError: There are no batches, fewer factors than batches, or `train_loss` is not a scalar that depends
            on the parameters.
    """
    problem.write_options(None, values)
    snapshots = []
    for place, batch in enumerate(scheduled(problem, batches, factors)):
        own = owned(batch)
        if tape is not None:
            snapshots.append(tape.step(own, values, place)[0])
            continue
        snapshot = problem.snapshot(own, values, problem.capture())
        loss = problem.differentiate(own, problem.leaves(values, differentiable=False))
        snapshots.append(replace(snapshot, loss=loss, taken=problem.take_step()))
    if not snapshots:
        raise ArgumentError("batches", "hold at least one batch", snapshots, "A window is one inner step or more.")
    return Window(tuple(snapshots), problem.capture(), val_batches)
