"""Whether a window's derivatives leave a path out: through tensors that training changes and that losses read.

Derivatives go through parameters, the optimizer's buffers and running statistics. A network that follows another one,
a hidden state that is handed from batch to batch, statistics of the user's own go their own ways; so do parameters that
somebody else trains. What such a tensor holds is a constant where it does not depend on the parameters, or no loss
reads it, and that is tried out, once for each set of them.
"""

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.replay import loss_gradients
from ray_glocal.hypergradient.state import Snapshot
from ray_glocal.hypergradient.surroundings import Item
from ray_glocal.hypergradient.trained import listed
from ray_glocal.hypergradient.window import Window

NUDGE = 1e-2  # relative change that is tried out: large beside rounding, small beside what would kill a network


def carried(problem: Problem, window: Window) -> str:
    """The sentence that names tensors through which derivatives should go, and do not; empty as a rule.

    Args:
        problem: The bilevel problem, its model as the window left it.
        window: A window that has just ended.
    """
    marks = next((snapshot.marks for snapshot in window.snapshots if snapshot.marks), None)
    trouble = next((snapshot.trouble for snapshot in window.snapshots if snapshot.trouble), "")
    if trouble or marks is None:
        return trouble
    moved = [item for item in problem.surroundings.moved(marks) if _counts(item, problem.constants)]
    names = frozenset(item.name for item in moved)
    if names not in problem.judged:
        problem.judged[names] = _judged(problem, window, names) if names else ""
    return problem.judged[names]


def _counts(item: Item, constants: Sequence[str]) -> bool:
    """Whether a tensor could carry a derivative, and nobody has said that it is a constant."""
    return item.tensor.is_floating_point() and not any(fnmatchcase(item.name, name) for name in constants)


def _judged(problem: Problem, window: Window, names: Collection[str]) -> str:
    snapshot = window.snapshots[-1]
    with problem.preserved() as state:
        before = _values(problem, names)
        _run(problem, snapshot)
        base = _values(problem, names)
        problem.place(state, state.parameters, torch.tensor(NUDGE, dtype=torch.float64))
        _run(problem, snapshot)
        shifted = _values(problem, names)
        left = {name for name in names if name in before and _equal(base.get(name), before[name])}
        carrying = left | {name for name in names if not _equal(base.get(name), shifted.get(name))}
        problem.place(state)
        plain = _read(problem, window)
        problem.place(state)
        _nudge(problem, carrying)
        read = _read(problem, window)
    if all(torch.equal(a, b) for a, b in zip(plain, read, strict=True)):
        return ""
    return (
        f"training changes {listed(sorted(carrying))}, losses read what it holds then, and derivatives do not go "
        "through it: where that may be taken for a constant, say so by `constants=`"
    )


def _run(problem: Problem, snapshot: Snapshot) -> None:
    """A training forward and backward pass where the model stands."""
    loss_gradients(problem, snapshot, problem.leaves(snapshot.values, differentiable=True))


def _read(problem: Problem, window: Window) -> list[Tensor]:
    """All that a window's losses say where the model stands."""
    snapshot = window.snapshots[-1]
    with problem.preserved():
        outer = problem.outer_gradient(window.val_batches, window.values)
    found = loss_gradients(problem, snapshot, problem.leaves(snapshot.values, differentiable=True))
    told = [outer.loss, *outer.parameters, *(f for f in found if f is not None)]
    return [t.nan_to_num() for t in told]


def _values(problem: Problem, names: Collection[str]) -> Mapping[str, Tensor]:
    marks = problem.surroundings.marks()
    return {name: marks[name][0].tensor.detach().clone() for name in names if name in marks}


@torch.no_grad()
def _nudge(problem: Problem, names: Collection[str]) -> None:
    """Change tensors a little, where they stand."""
    for name, (item, _) in problem.surroundings.marks().items():
        if name in names:
            size = item.tensor.abs().max() if item.tensor.numel() else item.tensor.new_zeros(())
            item.put(item.tensor + NUDGE * torch.where(size > 0, size, torch.ones_like(size)))


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
