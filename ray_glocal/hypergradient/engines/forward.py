"""The forward engine: tangents carried along a window, one per hyperparameter entry.

Franceschi et al. 2017 (arXiv:1703.01785), forward mode.
"""

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from ray_glocal.hypergradient.gradient.step import Carrier, push_forward_step
from ray_glocal.hypergradient.problem.problem import OuterGradient, Problem
from ray_glocal.hypergradient.problem.statistics import running
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot
from ray_glocal.hypergradient.trouble import WindowError
from ray_glocal.hypergradient.window.influence import carried
from ray_glocal.hypergradient.window.replay import recalled, segments
from ray_glocal.hypergradient.window.window import Trajectory, Window


def forward_trajectory(problem: Problem, window: Window, precision: torch.dtype | None = None) -> Trajectory:
    """Trajectory of local hypergradients h_1 .. h_K of a window, by carrying tangents and K validation gradients.

    Takes q Hessian products, together and from one graph, and a validation gradient a step; memory grows with q, not
    with K.

    Args:
        problem: The bilevel problem. Its model comes back as it was.
        window: K recorded inner steps.
        precision: In which tangents rest between steps, such as `torch.bfloat16` for half their memory; that of the
            parameters by default.

    Returns:
        Its `derivatives` are h_k for k = 1 .. K, shape [K, q], in the hyperparameters' values. `loss` is the validation
        loss after the window. Where what was recorded is not what was trained, its `trouble` says so.

    Raises:
        ArgumentError: There are no validation batches, or `val_loss` is not a scalar that depends on the parameters.
    """
    trouble = carried(problem, window)
    if trouble:
        return Trajectory.refused(problem, window, "forward", trouble)
    try:
        with problem.preserved():
            return _trajectory(problem, window, precision)
    except WindowError as error:
        return Trajectory.refused(problem, window, "forward", str(error))


def _trajectory(problem: Problem, window: Window, precision: torch.dtype | None) -> Trajectory:
    carrier, rows = no_tangents(problem, window.snapshots[0].start), []
    for snapshot, after in _steps(problem, window):
        carrier = push_forward_step(problem, snapshot, carrier, after)
        if precision is not None:
            carrier = _rested(carrier, precision)
        problem.place(after)
        outer = problem.outer_gradient(window.val_batches, window.values)
        rows.append(contract(outer, carrier))
    return Trajectory(torch.stack(rows).cpu(), float(outer.loss), "forward")


def _steps(problem: Problem, window: Window) -> Iterator[tuple[Snapshot, InnerState]]:
    """The steps of a window, each with the state after it."""
    steps = chain.from_iterable(recalled(problem, segment) for segment in segments(window.snapshots))
    last = next(steps)
    for snapshot in steps:
        yield last, snapshot.start
        last = snapshot
    yield last, window.end


def _rested(carrier: Carrier, precision: torch.dtype) -> Carrier:
    """The tangents rounded to a precision."""

    def rounded(tangent: Tensor) -> Tensor:
        return tangent.to(precision)

    slots = tuple({name: rounded(tangent) for name, tangent in held.items()} for held in carrier.slots)
    return Carrier(tuple(map(rounded, carrier.parameters)), slots, carrier.statistics)


def no_tangents(problem: Problem, state: InnerState) -> Carrier:
    """Tangents at a window's start: nothing depends on the hyperparameters yet."""
    q = problem.size
    return Carrier(
        tuple(p.new_zeros((q, *p.shape)) for p in state.parameters),
        tuple({name: t.new_zeros((q, *t.shape)) for name, t in held.items()} for held in state.slots),
        tuple(s.new_zeros((q, *s.shape)) for s in running(problem.statistics)),
    )


def contract(outer: OuterGradient, carrier: Carrier) -> torch.Tensor:
    """Local hypergradient [q] from tangents of parameters and statistics and the outer gradient."""
    total = outer.direct.clone()
    gradients, tangents = (*outer.parameters, *outer.statistics), (*carrier.parameters, *carrier.statistics)
    for gradient, tangent in zip(gradients, tangents, strict=True):
        total += (tangent.to(gradient.dtype).reshape(len(tangent), -1) @ gradient.flatten()).double()
    return total
