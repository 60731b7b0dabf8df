"""The adjoint engine: one backward sweep through a window, at a price that does not depend on q.

Maclaurin et al. 2015 (arXiv:1502.03492) and Franceschi et al. 2017 (arXiv:1703.01785), reverse mode; the lag
trajectory is this project's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import foreach_add_
from ray_glocal.hypergradient.gradient.products import EXACT, Products
from ray_glocal.hypergradient.gradient.step import Carrier, pull_back_step
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.copies import copied
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.trouble import WindowError
from ray_glocal.hypergradient.tuning import CHUNK
from ray_glocal.hypergradient.window.influence import carried
from ray_glocal.hypergradient.window.replay import recalled, segments
from ray_glocal.hypergradient.window.window import Trajectory, Window


def adjoint_trajectory(problem: Problem, window: Window, tail: int = 1, products: Products = EXACT) -> Trajectory:
    """Lag trajectory of a window, by pulling the validation gradient at its end back step by step.

    Takes one Hessian product a step, whatever q; what that costs depends on what was kept of the step (see `Tape`).

    Args:
        problem: The bilevel problem. Its model comes back as it was.
        window: K recorded inner steps.
        tail: Take the outer loss at the mean of the parameters after each of the last `tail` steps, 1 to K. A mean of
            two thirds of a window is nearly free of the noise that a schedule will take out by its end (Polyak and
            Juditsky 1992), and shows the progress beneath it.
        products: Where Hessian products come from: those of the tape that recorded the window.

    Returns:
        Its `derivatives` are cumulated contributions by lag, shape [K, q], in the hyperparameters' values; their last
        row is the full local hypergradient h_K. `loss` is the validation loss after the window. Where what was recorded
        is not what was trained, its `trouble` says so.

    Raises:
        ArgumentError: `tail` is out of range, there are no validation batches, or `val_loss` is not a scalar that
            depends on the parameters.
    """
    length = len(window.snapshots)
    if not 1 <= tail <= length:
        remedy = "Hand 1 for the last parameters alone, two thirds of the window for less noise."
        raise ArgumentError("tail", f"be 1 to {length}, the steps of the window", tail, remedy)
    trouble = carried(problem, window)
    if trouble:
        return Trajectory.refused(problem, window, "lag", trouble)
    try:
        with problem.preserved():
            return _trajectory(problem, window, tail, products)
    except WindowError as error:
        return Trajectory.refused(problem, window, "lag", str(error))


def _trajectory(problem: Problem, window: Window, tail: int, products: Products) -> Trajectory:
    problem.place(replace(window.end, parameters=_mean_parameters(problem, window, tail)))
    outer = problem.outer_gradient(window.val_batches, window.values)
    share = tuple(gradient / tail for gradient in outer.parameters)
    nothing = tuple({name: torch.zeros_like(t) for name, t in held.items()} for held in window.end.slots)
    own = tuple(copied(share))  # which is overwritten
    carrier, after, contributions = Carrier(own, nothing, outer.statistics), window.end, []
    small = sum(parameter.numel() for parameter in problem.parameters) <= CHUNK
    for lag, snapshot in enumerate(_backwards(problem, window.snapshots), 1):
        further = lag < len(window.snapshots)
        turn = lag + window.end.steps[0] if lag > 1 and further and not small else None
        carrier, contribution = pull_back_step(problem, snapshot, carrier, products, after, turn, further=further)
        after = snapshot.start
        contributions.append(contribution)
        if lag < tail:  # the parameters before this step are one of those averaged
            foreach_add_(list(carrier.parameters), share)
    lags = problem.stacked(contributions)
    lags[0] += outer.direct
    return Trajectory(lags.cumsum_(0).cpu(), float(outer.loss), "lag")


def _backwards(problem: Problem, snapshots: Sequence[Snapshot]) -> Iterator[Snapshot]:
    """The steps of a window with their states, the last one first."""
    for segment in reversed(segments(snapshots)):
        yield from reversed(list(recalled(problem, segment)))


def _mean_parameters(problem: Problem, window: Window, tail: int) -> tuple[Tensor, ...]:
    """Mean of each parameter over the states after the last `tail` steps."""
    if tail == 1:
        return window.end.parameters
    total = [parameter.clone() for parameter in window.end.parameters]
    for snapshot in islice(_backwards(problem, window.snapshots), tail - 1):
        foreach_add_(total, list(snapshot.start.parameters))
    return tuple(t.div_(tail) for t in total)
