"""What a section of the page is made of: sentences, charts in plotly's terms, tables.

Colours are names ("@accent"), which the page's style sheet fills in for a light and for a dark screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_glocal.report.page.figures import rounded

ACCENT, WARM, BAD, INK, MUTED, FAINT, BAND = "@accent", "@warm", "@bad", "@ink", "@muted", "@faint", "@band"
Trace = Mapping[str, Any]
_FAR = 20.0  # ratio of the largest value to the least beyond which logarithms show them better
_FEW = 2.5  # decades within which a logarithmic axis names 2 and 5 beside 1


@dataclass(frozen=True)
class Option:
    """What a chart shows of one thing that can be chosen.

    Args:
        caption: What it shows, in words.
        data: Columns of each of the chart's traces.
        layout: What differs from the chart's layout.
    """

    caption: str
    data: tuple[Trace, ...]
    layout: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        key: Its name in the page.
        caption: What it shows, in words.
        traces: Plotly's traces; those of a chart with choices lack the columns.
        layout: Plotly's layout, without what all charts share.
        height: Pixels.
        choosers: What can be chosen: ("trial",), or ("trial", "hyperparameter").
        choices: `Option` by trial, or by trial and hyperparameter; the first is shown first.
    """

    key: str
    caption: str
    traces: tuple[Trace, ...]
    layout: Mapping[str, Any]
    height: int = 360
    choosers: tuple[str, ...] = ()
    choices: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and filtered.

    Args:
        key: Its name in the page.
        caption: What it shows, in words.
        heads: Names of the columns.
        rows: Cells: numbers, text, or None.
        words: Heads of the columns that hold sentences.
    """

    key: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        key: Its anchor.
        name: A word for the list of sections.
        title: A sentence that says what came out.
        text: Further sentences.
        charts: Its charts.
        table: Its table; None without one.
    """

    key: str
    name: str
    title: str
    text: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    table: Table | None = None


def line(color: str, width: float = 1.5, **more: Any) -> dict[str, Any]:
    """A trace of lines."""
    return {"type": "scatter", "mode": "lines", "line": {"color": color, "width": width}, **more}


def points(color: str, size: float = 7, symbol: str = "circle", **more: Any) -> dict[str, Any]:
    """A trace of points."""
    return {"type": "scatter", "mode": "markers", "marker": {"color": color, "size": size, "symbol": symbol}, **more}


def band(**more: Any) -> dict[str, Any]:
    """A filled outline."""
    style = {"fill": "toself", "fillcolor": BAND, "line": {"width": 0}, "hoverinfo": "skip"}
    return {"type": "scatter", "mode": "lines", **style, **more}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title."""
    return {"title": {"text": title}, **more}


def broken(series: Sequence[Sequence[Any]]) -> list[Any]:
    """Several series as one, with gaps between them."""
    out: list[Any] = []
    for each in series:
        out += [*each, None]
    return out[:-1]


def scaled(values: Iterable[float | None], far: float = _FAR) -> dict[str, Any]:
    """An axis for values, logarithmic where they lie far apart, with ticks that say their numbers in full.

    Args:
        values: What is drawn along it.
        far: Ratio of the largest to the least from which on it is logarithmic.
    """
    known = [value for value in values if value is not None]
    if not known or min(known) <= 0 or max(known) < far * min(known):
        return {"type": "linear"}
    low, high = math.log10(min(known)), math.log10(max(known))
    steps = (1, 2, 5) if high - low <= _FEW else (1,)
    stride = max(1, round((high - low) / 6))
    decades = range(math.floor(low), math.ceil(high) + 1, stride)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    texts = [f"{tick:g}" for tick in ticks]
    room = 0.05 * (high - low)
    return {"type": "log", "tickvals": ticks, "ticktext": texts, "range": [low - room, high + room]}


def framed(values: Iterable[float | None], far: float = _FAR) -> dict[str, Any]:
    """The same with half a range of room on both sides, which what is uncertain may leave."""
    numbers = list(values)
    kind = scaled(numbers, far)
    if kind["type"] == "log":
        low, high = kind["range"]
        return {**kind, "range": [low - 0.25 * (high - low), high + 0.25 * (high - low)]}
    known = [value for value in numbers if value is not None]
    if not known or min(known) == max(known):
        return kind
    room = (max(known) - min(known)) / 2
    return {**kind, "range": [min(known) - room, max(known) + room]}


def outline(
    step: Sequence[float | None], mean: Sequence[float | None], far: Sequence[float | None], least: float | None = None
) -> dict[str, list[float | None]]:
    """The interval about each mean: its upper ends, and back along its lower ones.

    Args:
        step: Where each stands.
        mean: Its middle.
        far: How far it reaches to both sides; None where unknown.
        least: What a lower end is raised to, for logarithms; None for none.
    """
    known = [(x, m, f) for x, m, f in zip(step, mean, far, strict=False) if m is not None and f is not None]
    upper = [(x, rounded(m + f)) for x, m, f in known]
    lower = [(x, rounded(m - f if least is None else max(m - f, least))) for x, m, f in reversed(known)]
    return {"x": [x for x, _ in upper + lower], "y": [y for _, y in upper + lower]}
