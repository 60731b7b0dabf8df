"""The forward engine: tangents carried along a window, one per hyperparameter entry.

Franceschi et al. 2017 (arXiv:1703.01785), forward mode.
"""

from itertools import chain

import torch
from torch import Tensor

from ray_glocal.hypergradient.problem import OuterGradient, Problem
from ray_glocal.hypergradient.replay import recalled, stretches
from ray_glocal.hypergradient.state import InnerState
from ray_glocal.hypergradient.statistics import running
from ray_glocal.hypergradient.step import Carrier, push_forward_step
from ray_glocal.hypergradient.window import Trajectory, Window


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
        h_k for k = 1 .. K, shape [K, q].

    Raises:
        ArgumentError: There are no validation batches, or `val_loss` is not a scalar that depends on the parameters.
    """
    with problem.preserved():
        steps = chain.from_iterable(recalled(problem, stretch) for stretch in stretches(window.snapshots))
        carrier, rows = no_tangents(problem, window.snapshots[0].start), []
        for place, snapshot in enumerate(steps):
            if place:
                problem.place(snapshot.start)
                rows.append(contract(problem.outer_gradient(window.val_batches, window.values), carrier))
            carrier = push_forward_step(problem, snapshot, carrier)
            if precision is not None:
                carrier = _rested(carrier, precision)
        problem.place(window.end)
        outer = problem.outer_gradient(window.val_batches, window.values)
        rows.append(contract(outer, carrier))
    return Trajectory(torch.stack(rows).cpu(), float(outer.loss), "forward")


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
        tuple(s.new_zeros((q, *s.shape)) for s in running(problem.norms)),
    )


def contract(outer: OuterGradient, carrier: Carrier) -> torch.Tensor:
    """Local hypergradient [q] from tangents of parameters and statistics and the outer gradient."""
    total = outer.direct.clone()
    gradients, tangents = (*outer.parameters, *outer.statistics), (*carrier.parameters, *carrier.statistics)
    for gradient, tangent in zip(gradients, tangents, strict=True):
        total += (tangent.to(gradient.dtype).reshape(len(tangent), -1) @ gradient.flatten()).double()
    return total
