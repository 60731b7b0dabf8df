"""The truth: the exact hypergradient of a whole remaining run, and finite differences of real runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.engines.adjoint import adjoint_trajectory
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.tuning import HALF_WIDTHS
from ray_glocal.hypergradient.window.schedule import Factor, scheduled
from ray_glocal.hypergradient.window.window import Trajectory, record_window


@dataclass(frozen=True)
class FiniteDifferences:
    """Central differences of the final validation loss on the line, one row per step size.

    Args:
        step_sizes: Half widths of the differences, in coordinates.
        derivatives: Shape [step size, direction]; the directions are the q coordinates unless told otherwise.
    """

    step_sizes: tuple[float, ...]
    derivatives: Tensor


def global_hypergradient(
    problem: Problem,
    batches: Sequence[Any],
    val_batches: Sequence[Any],
    values: Values,
    factors: Sequence[Factor] | None = None,
) -> Trajectory:
    """Exact h_R: train on all R `batches` and differentiate through every step; memory grows with R.

    Args:
        problem: The bilevel problem. Its model, optimizer and random generators come back as they were.
        batches: The R batches that remain.
        val_batches: Batches of the outer loss.
        values: Hyperparameter values that hold throughout.
        factors: A schedule's factor on the learning rates at each step; by default the present ones stay.

    Returns:
        As of `adjoint_trajectory`, by lag: the last row of its `derivatives` [R, q] is h_R, in values;
        `problem.pull_back` carries it to coordinates.

    Raises:
        ArgumentError: There are no batches, fewer factors than batches, or a loss is not a scalar that depends on the
            parameters.
    """
    with problem.rewound():
        return adjoint_trajectory(problem, record_window(problem, batches, val_batches, values, factors))


def final_loss(
    problem: Problem,
    batches: Sequence[Any],
    val_batches: Sequence[Any],
    values: Values,
    factors: Sequence[Factor] | None = None,
) -> float:
    """Validation loss after training on `batches` at `values`; model, optimizer and generators come back.

    Raises:
        ArgumentError: There are no validation batches, fewer factors than batches, or a loss is not a scalar.
    """
    with problem.rewound():
        problem.write_options(None, values)
        for batch in scheduled(problem, batches, factors):
            problem.advance(owned(batch), values)
        return problem.mean_val_loss(val_batches, values)


def finite_differences(
    problem: Problem,
    batches: Sequence[Any],
    val_batches: Sequence[Any],
    values: Values,
    step_sizes: Sequence[float] = HALF_WIDTHS,
    factors: Sequence[Factor] | None = None,
    directions: Tensor | None = None,
) -> FiniteDifferences:
    """Central differences of the final loss in every coordinate: 2 q runs for each step size.

    Args:
        problem: The bilevel problem; comes back as it was.
        batches: The batches that remain.
        val_batches: Batches of the outer loss.
        values: Point at which to differentiate.
        step_sizes: Half widths on the line; agreement over several of them is what makes a difference credible.
        factors: A schedule's factor on the learning rates at each step; by default the present ones stay.
        directions: Directions on the line to differentiate along instead, shape [direction, q].

    Raises:
        ArgumentError: No step sizes, one that is not positive, or fewer factors than batches.
    """
    if not step_sizes or not all(size > 0 for size in step_sizes):
        remedy = "Hand one half width or more, such as (1e-2, 1e-3)."
        raise ArgumentError("step_sizes", "be positive", tuple(step_sizes), remedy)
    line = problem.to_line(values)

    def slope(direction: Tensor, size: float) -> float:
        ends = [problem.to_values(line + sign * size * direction, clip=False) for sign in (1.0, -1.0)]
        high, low = (final_loss(problem, batches, val_batches, end, factors) for end in ends)
        return (high - low) / (2 * size)

    along = torch.eye(problem.size, dtype=line.dtype) if directions is None else directions
    rows = [[slope(direction, size) for direction in along] for size in step_sizes]
    return FiniteDifferences(tuple(step_sizes), torch.tensor(rows, dtype=torch.float64))
