"""The path to a session's weights: which of its steps led there, and with which values, as its trace tells.

A session that loses its way goes back to earlier weights and trains on. Its step count and its lr_scheduler go on all
the same, so the steps in between belong to no path that leads to the final weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ray_glocal.errors import ArgumentError
from ray_glocal.names import GO_BACK, RESTART, ROLL_BACK, entry_labels, norm_label
from ray_glocal.schedule.values import Array

_RETURNS = frozenset({ROLL_BACK, GO_BACK, RESTART})
_REMEDY = "An earlier release wrote it, whose traces do not: train again, or read the schedule by that release."


class TraceRow(Protocol):
    """A row of a trace, as much of it as is read."""

    @property
    def step(self) -> int:
        """Inner steps taken."""
        ...

    @property
    def hyperparameter(self) -> str:
        """Name of an entry; between bars that of many."""
        ...

    @property
    def value(self) -> float:
        """In a window before it moves, after a return what is gone on with; of many entries their norm."""
        ...

    @property
    def entries(self) -> Sequence[float] | None:
        """The values of many entries, where the trace holds them."""
        ...

    @property
    def gate(self) -> str:
        """The answer, or the kind of return."""
        ...

    @property
    def back_to(self) -> int | None:
        """The step whose weights a return led to; None elsewhere."""
        ...


Shown = Sequence[float]  # what a row tells: the value of one entry, or those of many


@dataclass(frozen=True)
class Segment:
    """Steps in a row with the same values.

    Args:
        begin: Step of the session that it begins with.
        end: Step of the session before which it ends.
        values: Values of what the trace shows, by its name.
    """

    begin: int
    end: int
    values: Mapping[str, Shown]


def path_of(rows: Sequence[TraceRow], end: Mapping[str, Shown], step: int) -> list[Segment]:
    """The segments that led to a session's weights, by the session's steps, which leap where it went back.

    Args:
        rows: Its trace, oldest first.
        end: Values that it stands at, by the names of the trace.
        step: Step that it stands at.

    Raises:
        ArgumentError: The trace shows other entries than `end`, or does not tell where it went back to.
    """
    kept: list[Segment] = []
    begin = 0
    for batch in _batches(rows, end):
        at = batch[0].step
        if batch[0].gate in _RETURNS:
            kept = _cut(kept, _returned(batch[0]))
        else:
            kept.append(Segment(begin, at, _told(batch)))
        begin = at
    return [each for each in [*kept, Segment(begin, step, end)] if each.end > each.begin]


def start_of(rows: Sequence[TraceRow], end: Mapping[str, Shown]) -> Mapping[str, Shown]:
    """Values that a session was given: those ahead of the first row, or of the end where there is none."""
    first = next(iter(_batches(rows, end)), None)
    return end if first is None else _told(first)


def _told(batch: Sequence[TraceRow]) -> dict[str, Shown]:
    return {row.hyperparameter: [row.value] if row.entries is None else row.entries for row in batch}


def _batches(rows: Sequence[TraceRow], end: Mapping[str, Shown]) -> list[Sequence[TraceRow]]:
    """Rows that were written together, one for each entry."""
    count = len(end)
    batches = [rows[place : place + count] for place in range(0, len(rows), count)]
    odd = next((b for b in batches if [r.hyperparameter for r in b] != list(end)), None)
    if odd is not None:
        rule = f"have a row for each of {', '.join(end)} at each window"
        remedy = "Take the trace that the very session wrote, whole."
        raise ArgumentError("trace", rule, [row.hyperparameter for row in odd], remedy)
    return batches


def _returned(row: TraceRow) -> int:
    """The step whose weights a return led to."""
    if row.back_to is None:
        rule = f"tell the step to which training went back at step {row.step}"
        raise ArgumentError("trace", rule, row.back_to, _REMEDY)
    return row.back_to


def _cut(segments: Sequence[Segment], step: int) -> list[Segment]:
    """Of segments what lies before a step of the session."""
    before = [each for each in segments if each.begin < step]
    return [Segment(each.begin, min(each.end, step), each.values) for each in before]


def entries(values: Mapping[str, Array], shown: Sequence[str]) -> dict[str, Shown]:
    """Values of hyperparameters by the names that a trace shows, in its order."""
    found: dict[str, Shown] = {}
    for name, value in values.items():
        flat = value.flatten().tolist()
        if (norm := norm_label(name)) in shown:
            found[norm] = flat
        else:
            found |= {label: [entry] for label, entry in zip(entry_labels(name, len(flat)), flat, strict=True)}
    return found
