"""The adjoint engine: one backward sweep through a window, at a price that does not depend on q.

Maclaurin et al. 2015 (arXiv:1502.03492) and Franceschi et al. 2017 (arXiv:1703.01785), reverse mode; the lag
trajectory is this project's.
"""

import torch

from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.step import Carrier, pull_back_step
from ray_glocal.hypergradient.window import Trajectory, Window


def adjoint_trajectory(problem: Problem, window: Window) -> Trajectory:
    """Lag trajectory of a window, by pulling the validation gradient at its end back step by step.

    Takes one forward and backward pass and one Hessian product a step, whatever q; holds one step's graph at a time.

    Args:
        problem: The bilevel problem. Its model comes back as it was.
        window: K recorded inner steps.

    Returns:
        Cumulated contributions by lag, shape [K, q]; their last row is the full local hypergradient h_K.

    Raises:
        ArgumentError: There are no validation batches, or `val_loss` is not a scalar that depends on the parameters.
    """
    with problem.preserved():
        problem.place(window.snapshots[0].state)
        before = problem.mean_val_loss(window.val_batches, window.values)
        problem.place(window.end)
        outer = problem.outer_gradient(window.val_batches, window.values)
        carrier = Carrier(
            outer.parameters,
            tuple({name: torch.zeros_like(t) for name, t in held.items()} for held in window.end.slots),
            outer.statistics,
        )
        contributions = []
        for snapshot in reversed(window.snapshots):
            carrier, contribution = pull_back_step(problem, snapshot, carrier)
            contributions.append(contribution)
        lags = torch.stack(contributions).cumsum(0) + outer.direct
    return Trajectory(lags.cpu(), (before, float(outer.loss)), "lag")
