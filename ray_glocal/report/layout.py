"""Plain text that fits a page: numbers, tables, paragraphs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 100
NAMED = 10  # hyperparameters that a sentence names, and
_VALUE = 40  # characters of the value of each
_GAP = "  "


def shown(value: float | None) -> str:
    """A number in four digits; "-" where there is none."""
    if value is None:
        return "-"
    if float(value).is_integer() and abs(value) < 1e7:
        return f"{int(value)}"
    return f"{value:.4g}"


def cut(text: str, width: int) -> str:
    """`text` in at most `width` characters, with dots for what is missing."""
    return text if len(text) <= width else text[: max(0, width - 2)] + ".."


def listed(values: Iterable[tuple[str, str]], joint: str = " ") -> list[str]:
    """Names with their values, the first few of many, and how many more there are."""
    every = [f"{name}{joint}{cut(value, _VALUE)}" for name, value in values]
    rest = len(every) - NAMED
    return [*every[:NAMED], f"and {rest:,} more"] if rest > 1 else every


def paragraph(text: str, indent: str = "") -> str:
    """`text` wrapped to the page; every line begins with `indent`."""
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[str] = ()) -> str:
    """Columns under their heads.

    Args:
        heads: Names of the columns.
        rows: Cells.
        words: Heads of the columns that are set to the left and may be cut: the widest first, until the page holds all.
    """
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    flexible = [i for i, head in enumerate(heads) if head in words]
    while flexible and sum(widths) + len(_GAP) * (len(widths) - 1) > WIDTH:
        widest = max(flexible, key=lambda i: widths[i])
        widths[widest] -= 1
    return "\n".join(_line(cells, widths, flexible) for cells in (heads, *rows))


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> str:
    parts = [
        cut(cell, width).ljust(width) if i in left else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return _GAP.join(parts).rstrip()
