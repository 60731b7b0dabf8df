"""Learning-rate schedulers of torch as they stand: their parts, their clock, and the rates that they lead up to.

What a sequence or a chain is made of has no public name. The private ones stand here alone, and
`tests/test_lr_schedulers.py` pins each fact: a torch that changes one fails there first, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.optim import lr_scheduler


def held(scheduler: Any) -> Sequence[Any]:
    """The schedulers that a sequence or a chain was built of, in their order; none of another."""
    inner: Sequence[Any] = getattr(scheduler, "_schedulers", ())
    return inner


def turns(sequence: lr_scheduler.SequentialLR) -> list[int]:
    """Steps after which a sequence goes over from one of its schedulers to the next."""
    return [int(step) for step in sequence._milestones]


def parts(scheduler: Any) -> Iterator[Any]:
    """A scheduler and all that it holds, in a sequence or a chain."""
    yield scheduler
    for inner in held(scheduler):
        yield from parts(inner)


def clock(parts: Sequence[Any]) -> list[Any]:
    """What counts on with every step of a scheduler, of all its parts."""
    return [getattr(part, "last_epoch", None) for part in parts]


def taken(scheduler: Any) -> int:
    """Steps that a scheduler has taken; of a chain those of its first."""
    return int(next(part.last_epoch for part in parts(scheduler) if hasattr(part, "last_epoch")))


def peaks(scheduler: Any, groups: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The largest rate of each parameter group under a scheduler that is built with it, by index of the group.

    Such a scheduler overwrites the optimizer's rate: `OneCycleLR`, `CyclicLR`, and any other that knows a `max_lr` or
    `max_lrs`; also within a sequence or a chain. None for the others, which multiply the rate they find.
    """
    rates = [declared for part in parts(scheduler) if (declared := _declared(part, groups)) is not None]
    return {index: max(each[index] for each in rates) for index in range(len(groups))} if rates else {}


def bases(scheduler: Any, groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """The rate of each parameter group that an adapted one stands for: the scheduler's peak, or the optimizer's own."""
    highest = peaks(scheduler, groups)
    return [highest.get(index, float(group.get("initial_lr", group["lr"]))) for index, group in enumerate(groups)]


def _declared(part: Any, groups: Sequence[Mapping[str, Any]]) -> list[float] | None:
    if isinstance(part, lr_scheduler.OneCycleLR):
        return [float(group["max_lr"]) for group in groups]
    given = getattr(part, "max_lrs", getattr(part, "max_lr", None))
    if given is None:
        return None
    several = list(given) if isinstance(given, list | tuple) else [given] * len(groups)
    return [float(each) for each in several] if len(several) == len(groups) else None
