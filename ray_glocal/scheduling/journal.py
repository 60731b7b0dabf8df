"""The ledger on disk: one JSON record a line, a version first; what `write` writes, `read` reads back identically.

Strict JSON has no NaN, so non-finite floats travel as the strings "nan", "inf" and "-inf", and are read as floats in
fields that hold floats.
A process that dies in the middle of an append leaves a torn last record: it is dropped, and said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported, Settled
from ray_glocal.scheduling.ledger import Event, Ledger

VERSION = 1
HEADER = json.dumps({"ray_glocal_ledger": VERSION})

_KINDS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind for kind in (Added, Reported, Completed, Errored, Settled, Decision)
}
_JSON = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_FLOATS = {"step", "loss", "mean", "deviation", "potential", "cost", "value", "total", "age", "inherited"}
_FLOAT_MAPS = {"hyper", "start", "slopes"}
# Values that are not written: a record is made at every result.
_RARE: dict[str, Any] = {
    "slopes": {},
    "weights": None,
    "total": None,
    "age": None,
    "inherited": 0.0,
    "searching": False,
    "recalled": False,
}


def write(ledger: Ledger) -> str:
    """The whole ledger as text, header first."""
    return HEADER + "\n" + lines(ledger.events)


def lines(events: Iterable[Event]) -> str:
    """Records of `events`, one a line, each ended by a newline: what is appended to a journal."""
    return "".join(_JSON.encode(_encode(event)) + "\n" for event in events)


def read(text: str) -> Ledger:
    """The ledger that `text` records.

    A last record without its newline, or one that is not whole JSON, was torn by a crash: it is dropped and
    `Ledger.torn` says so. Empty text, as left by a crash before the first write, is an empty ledger.

    Raises:
        ArgumentError: `text` is not a ledger, was written by another version, or is damaged before its last record.
    """
    complete, _, tail = text.rpartition("\n")
    if not complete:
        return _nothing(text)
    rows = complete.split("\n")
    _check_header(rows[0])
    ledger = Ledger()
    for number, row in enumerate(rows[1:], start=2):
        event = _decode(row)
        if event is None and number < len(rows):
            raise ArgumentError("ledger", f"hold a whole record on line {number}", row, "Restore it from a backup.")
        if event is None:
            tail = row
        else:
            ledger.record(event)
    ledger.torn = f"The last record was torn by a crash and is dropped: {tail!r}." if tail else ""
    return ledger


def salvage(text: str) -> Ledger:
    """Every whole record of a damaged journal; `Ledger.torn` says how many lines are lost, and which is the first.

    Events are facts that stand by themselves, so those that are left are worth more than none.

    Raises:
        ArgumentError: `text` was written by another version, or holds no whole record.
    """
    rows = text.split("\n")
    if "ray_glocal_ledger" in rows[0]:
        _check_header(rows[0])
    events = {number: _decode(row) for number, row in enumerate(rows, start=1) if row and row != HEADER}
    whole = [event for event in events.values() if event is not None]
    lost = [number for number, event in events.items() if event is None]
    if not whole:
        raise ArgumentError("ledger", "hold at least one whole record", rows[0], "Restore it from a backup.")
    ledger = Ledger(whole)
    if lost:
        ledger.torn = (
            f"{len(lost)} damaged lines are dropped, the first is line {lost[0]}; {len(ledger)} events are left."
        )
    return ledger


def _nothing(text: str) -> Ledger:
    """Text without one whole line: an empty ledger, unless it never was the beginning of one."""
    if not HEADER.startswith(text):
        _check_header(text)
    ledger = Ledger()
    ledger.torn = f"The header was torn by a crash and is dropped: {text!r}." if text else ""
    return ledger


def _check_header(row: str) -> None:
    if row != HEADER:
        remedy = "Read it with the version of ray_glocal that wrote it."
        raise ArgumentError("ledger", f"begin with {HEADER}", row, remedy)


def _encode(event: Event) -> dict[str, Any]:
    row: dict[str, Any] = {"event": type(event).__name__.lower()}
    for name in event.__slots__:
        value = getattr(event, name)
        if name not in _RARE or value != _RARE[name]:
            row[name] = _plain(value)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return {key: _plain(entry) for key, entry in value.items()} if isinstance(value, Mapping) else value


def _decode(row: str) -> Event | None:
    try:
        plain = json.loads(row)
        kind = _KINDS[plain.pop("event")]
        event: Event = kind(**{name: _rich(name, value) for name, value in plain.items()})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # not whole: `read` decides whether that is a torn tail or damage
    return event


def _rich(name: str, value: Any) -> Any:
    if name in _FLOATS:
        return _float_in(value)
    if name in _FLOAT_MAPS:
        return {key: _float_in(number) for key, number in value.items()}
    if name == "levels":
        return tuple(value)
    return Action(value) if name == "action" else value


def _float_in(value: float | str | None) -> float | None:
    return float(value) if isinstance(value, str) else value
