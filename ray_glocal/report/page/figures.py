"""Figures of numbers and series, for a page of bounded size: rounded, thinned, and without what JSON cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

DIGITS = 5


def rounded(value: float | None) -> float | None:
    """In five digits; None for what is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e9 else short


def column(values: Iterable[float | None]) -> tuple[float | None, ...]:
    """A series of rounded numbers."""
    return tuple(rounded(value) for value in values)


def thinned(length: int, points: int) -> Sequence[int]:
    """Places of at most `points` entries of a series, evenly spread, its first and its last among them.

    Args:
        length: Entries in the series.
        points: How many may stay, at least 2.
    """
    if length <= points:
        return range(length)
    return [round(i * (length - 1) / (points - 1)) for i in range(points)]


def share_of(budget: int, parts: int, least: int, most: int) -> int:
    """How many points each of `parts` series may have, so that all of them together stay near `budget`."""
    return max(least, min(most, budget // max(1, parts)))


def median(values: Iterable[float]) -> float:
    """The middle value; NaN of none."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if not ordered:
        return math.nan
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def counted(count: int, one: str, several: str = "") -> str:
    """A number with its noun."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def clock(seconds: float) -> tuple[str, float]:
    """The unit for a time axis of that length, and its seconds."""
    return next(((u, s) for u, s in (("hours", 3600.0), ("minutes", 60.0)) if seconds >= 2 * s), ("seconds", 1.0))
