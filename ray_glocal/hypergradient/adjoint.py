"""The adjoint engine: one backward sweep through a window, at a price that does not depend on q.

Maclaurin et al. 2015 (arXiv:1502.03492) and Franceschi et al. 2017 (arXiv:1703.01785), reverse mode; the lag
trajectory is this project's.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.problem import InnerState, Problem
from ray_glocal.hypergradient.step import Carrier, pull_back_step
from ray_glocal.hypergradient.window import Trajectory, Window


def adjoint_trajectory(problem: Problem, window: Window, tail: int = 1) -> Trajectory:
    """Lag trajectory of a window, by pulling the validation gradient at its end back step by step.

    Takes one forward and backward pass and one Hessian product a step, whatever q; holds one step's graph at a time.

    Args:
        problem: The bilevel problem. Its model comes back as it was.
        window: K recorded inner steps.
        tail: Take the outer loss at the mean of the parameters after each of the last `tail` steps, 1 to K. A mean of
            two thirds of a window is nearly free of the noise that a schedule will take out by its end (Polyak and
            Juditsky 1992), and shows the progress beneath it.

    Returns:
        Cumulated contributions by lag, shape [K, q]; their last row is the full local hypergradient h_K.

    Raises:
        ArgumentError: `tail` is out of range, there are no validation batches, or `val_loss` is not a scalar that
            depends on the parameters.
    """
    length = len(window.snapshots)
    if not 1 <= tail <= length:
        raise ArgumentError("tail", f"be 1 to {length}, the steps of the window", tail)
    with problem.preserved():
        problem.place(window.snapshots[0].state)
        before = problem.mean_val_loss(window.val_batches, window.values)
        states = [*(snapshot.state for snapshot in window.snapshots[length - tail + 1 :]), window.end]
        problem.place(replace(window.end, parameters=_mean_parameters(states)))
        outer = problem.outer_gradient(window.val_batches, window.values)
        share = tuple(gradient / tail for gradient in outer.parameters)
        carrier = Carrier(
            share,
            tuple({name: torch.zeros_like(t) for name, t in held.items()} for held in window.end.slots),
            outer.statistics,
        )
        contributions = []
        for lag, snapshot in enumerate(reversed(window.snapshots), 1):
            carrier, contribution = pull_back_step(problem, snapshot, carrier)
            contributions.append(contribution)
            if lag < tail:  # the parameters before this step are one of those averaged
                added = tuple(a + b for a, b in zip(carrier.parameters, share, strict=True))
                carrier = replace(carrier, parameters=added)
        lags = torch.stack(contributions).cumsum(0) + outer.direct
    return Trajectory(lags.cpu(), (before, float(outer.loss)), "lag")


def _mean_parameters(states: Sequence[InnerState]) -> tuple[Tensor, ...]:
    """Mean of each parameter over states."""
    if len(states) == 1:
        return states[0].parameters
    return tuple(torch.stack(column).mean(0) for column in zip(*(s.parameters for s in states), strict=True))
