"""The forward engine: tangents carried along a window, one per hyperparameter entry.

Franceschi et al. 2017 (arXiv:1703.01785), forward mode.
"""

import torch

from ray_glocal.hypergradient.problem import InnerState, OuterGradient, Problem
from ray_glocal.hypergradient.statistics import running
from ray_glocal.hypergradient.step import Carrier, push_forward_step
from ray_glocal.hypergradient.window import Trajectory, Window


def forward_trajectory(problem: Problem, window: Window) -> Trajectory:
    """Trajectory of local hypergradients h_1 .. h_K of a window, by carrying tangents and K validation gradients.

    Takes q Hessian products and a validation gradient a step; memory grows with q, not with K.

    Args:
        problem: The bilevel problem. Its model comes back as it was.
        window: K recorded inner steps.

    Returns:
        h_k for k = 1 .. K, shape [K, q].

    Raises:
        ArgumentError: There are no validation batches, or `val_loss` is not a scalar that depends on the parameters.
    """
    with problem.preserved():
        problem.place(window.snapshots[0].state)
        before = problem.mean_val_loss(window.val_batches, window.values)
        carrier = no_tangents(problem, window.snapshots[0].state)
        rows, outer = [], None
        ends = [*(snapshot.state for snapshot in window.snapshots[1:]), window.end]
        for snapshot, end in zip(window.snapshots, ends, strict=True):
            carrier = push_forward_step(problem, snapshot, carrier)
            problem.place(end)
            outer = problem.outer_gradient(window.val_batches, window.values)
            rows.append(contract(outer, carrier))
    assert outer is not None
    return Trajectory(torch.stack(rows).cpu(), (before, float(outer.loss)), "forward")


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
        total += (tangent.reshape(len(tangent), -1) @ gradient.flatten()).double()
    return total
