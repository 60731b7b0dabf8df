"""Whether a window's derivatives leave a path out: through tensors that training changes and that losses read.

Derivatives go through parameters, the optimizer's buffers and running statistics. A network that follows another one,
a hidden state that is handed from batch to batch, statistics of the user's own go their own ways; so do parameters that
somebody else trains. What such a tensor holds is a constant where it does not depend on the parameters, or no loss
reads it, and that is tried out, once for each set of them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ray_glocal.hypergradient.gradient.slope import loss_gradients
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.state.surroundings import Item
from ray_glocal.hypergradient.tuning import NUDGE
from ray_glocal.hypergradient.window.window import Window


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
    wholes = frozenset(_whole(item) for item in moved)
    if wholes not in problem.judged:
        problem.judged[wholes] = _judged(problem, window, moved) if moved else ""
    return problem.judged[wholes]


def _counts(item: Item, constants: Sequence[str]) -> bool:
    """Whether a tensor could carry a derivative, and nobody has said that it is a constant."""
    return item.floats and not any(fnmatchcase(item.name, name) for name in constants)


def _whole(item: Item) -> str:
    """What an item is spoken of as part of: a list of numbers is one whole, for most are histories and grow."""
    return item.name[: item.name.rindex("[")] if item.number and item.name.endswith("]") else item.name


def _judged(problem: Problem, window: Window, moved: Sequence[Item]) -> str:
    snapshot = window.snapshots[-1]
    with problem.preserved() as state:
        before = _values(problem)
        _run(problem, snapshot)
        base = _values(problem)
        problem.place(state, state.parameters, torch.tensor(NUDGE, dtype=torch.float64))
        _run(problem, snapshot)
        shifted = _values(problem)
        both = {**base, **shifted}
        depending = {_whole(both[n]) for n in both if not _equal(base.get(n), shifted.get(n))}
        # A number that no run changes is set by the loop, and a schedule's as a rule.
        left = {i.name for i in moved if not i.number and i.name in before and _equal(base.get(i.name), before[i.name])}
        carrying = left | {item.name for item in moved if _whole(item) in depending}
        problem.place(state)
        plain = _read(problem, window)
        problem.place(state)
        _nudge(problem, carrying)
        read = _read(problem, window)
    if problem.ranks.unanimous(all(torch.equal(a, b) for a, b in zip(plain, read, strict=True))):
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
    derivatives = [outer.loss, *outer.parameters, *(f for f in found if f is not None)]
    return [t.nan_to_num() for t in derivatives]


def _values(problem: Problem) -> Mapping[str, Item]:
    """All that is not captured elsewhere, as it stands."""
    items = {name: item for name, (item, _) in problem.surroundings.marks().items()}
    return {
        name: item if item.number else replace(item, value=item.tensor.detach().clone()) for name, item in items.items()
    }


@torch.no_grad()
def _nudge(problem: Problem, names: Collection[str]) -> None:
    """Change tensors a little, where they stand."""
    for name, (item, _) in problem.surroundings.marks().items():
        if name in names:
            size = item.tensor.abs().max() if item.tensor.numel() else item.tensor.new_zeros(())
            item.put(item.tensor + NUDGE * torch.where(size > 0, size, torch.ones_like(size)))


def _equal(here: Item | None, there: Item | None) -> bool:
    if here is None or there is None:
        return here is there
    one, other = here.tensor, there.tensor
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
