"""The rates that a learning-rate scheduler multiplies, or that it was built with and leads up to.

As `ray_glocal.session.plan` reads them; here without the session, whose engine a schedule does not load.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.optim import lr_scheduler


def bases(scheduler: Any, groups: Sequence[Mapping[str, Any]]) -> list[float]:
    """The rate of each parameter group that an adapted one stands for: the scheduler's peak, or the optimizer's own."""
    told = [declared for part in _parts(scheduler) if (declared := _declared(part, groups)) is not None]
    if told:
        return [max(each[index] for each in told) for index in range(len(groups))]
    return [float(group.get("initial_lr", group["lr"])) for group in groups]


def taken(scheduler: Any) -> int:
    """Steps that a scheduler has taken; of a chain those of its first."""
    return int(next(part.last_epoch for part in _parts(scheduler) if hasattr(part, "last_epoch")))


def _parts(scheduler: Any) -> Iterator[Any]:
    """A scheduler and all that it holds, in a sequence or a chain."""
    yield scheduler
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from _parts(inner)


def _declared(part: Any, groups: Sequence[Mapping[str, Any]]) -> list[float] | None:
    if isinstance(part, lr_scheduler.OneCycleLR):
        return [float(group["max_lr"]) for group in groups]
    given = getattr(part, "max_lrs", getattr(part, "max_lr", None))
    if given is None:
        return None
    several = list(given) if isinstance(given, list | tuple) else [given] * len(groups)
    return [float(each) for each in several] if len(several) == len(groups) else None
