"""Which choices do well: importance of each, slices, and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_glocal.report.layout import cut, shown
from ray_glocal.report.page.chart import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    WARM,
    Chart,
    Option,
    Section,
    axis,
    broken,
    line,
    points,
    scaled,
)
from ray_glocal.report.page.figures import counted, rounded
from ray_glocal.report.page.importance import Importance, label
from ray_glocal.report.page.life import Life

AXES = 8  # of parallel coordinates
TICKS = 6  # values that an axis names
LEAST = 0.005  # share of the trials' order that is worth a word: less is 0 %
_LEADING = 10  # one in so many trials is drawn among the best


@dataclass(frozen=True)
class Scale:
    """An axis that any values find a place on.

    Args:
        name: What it shows.
        places: Place of each trial, 0 to 1; None where it has no value.
        ticks: Places and names of some values.
    """

    name: str
    places: tuple[float | None, ...]
    ticks: tuple[tuple[float, str], ...]


def section(
    metric: str, lives: Sequence[Life], importances: Sequence[Importance], ends: Mapping[str, Mapping[str, float]]
) -> Section:
    """What the choices say.

    Args:
        metric: Key of the value that is optimised.
        lives: The trials, the best first.
        importances: Importance of each choice.
        ends: Last value of each adapted hyperparameter, by trial.
    """
    able = [life for life in lives if life.best is not None]
    columns = _columns(able, [each.hyperparameter for each in importances], ends)
    if len(able) < 2 or not columns:
        text = "There are too few trials with different configurations to compare."
        return Section("choices", "Choices", "Nothing can be said of the choices yet", (text,))
    known = [each for each in importances if (each.share or 0.0) >= LEAST]
    title = "No choice alone tells good trials from bad ones"
    if known:
        first = known[0]
        share = f"{first.share:.0%} of their order"
        title = f"Of the choices {first.hyperparameter} tells most about which trials do well: {share}"
    charts = [_importance(importances)] if known else []
    return Section(
        "choices", "Choices", title, charts=(*charts, _parallel(metric, able, columns), _slices(metric, able, columns))
    )


def _columns(
    lives: Sequence[Life], choices: Sequence[str], ends: Mapping[str, Mapping[str, float]]
) -> dict[str, list[Any]]:
    """Values of each hyperparameter, one a trial: choices as they are, adapted ones as they ended."""
    adapted = dict.fromkeys(name for life in lives for name in ends.get(life.trial, ()))
    out: dict[str, list[Any]] = {name: [life.configuration.get(name) for life in lives] for name in choices}
    for name in adapted:
        values = [ends.get(life.trial, {}).get(name) for life in lives]
        if len(set(values)) > 1:
            out[name] = [rounded(value) for value in values]
    return out


def _importance(importances: Sequence[Importance]) -> Chart:
    those = [each for each in importances if each.share is not None][:12]
    medians = [", ".join(f"{name}: {shown(value)}" for name, value in each.values.items()) for each in those]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [each.share for each in those],
        "y": [each.hyperparameter for each in those],
        "text": medians,
        "textposition": "none",
        "hovertemplate": "%{x:.0%}<br>%{text}<extra></extra>",
        "marker": {"color": ACCENT},
        "name": "importance",
    }
    caption = (
        "Share of the variance of the trials' ranks that each hyperparameter explains on its own, beyond chance "
        "(epsilon squared); of what sessions adapt nothing is said. Pruned trials count with their best value."
    )
    layout = {
        "xaxis": axis("share of the ranks explained", tickformat=".0%", rangemode="tozero"),
        "yaxis": axis("", autorange="reversed", automargin=True),
        "showlegend": False,
        "bargap": 0.5,
    }
    return Chart("importance", caption, (bars,), layout, 120 + 32 * len(those))


def scale(name: str, values: Sequence[Any]) -> Scale:
    """A linear or logarithmic axis for numbers, an evenly spaced one for everything else."""
    known = [value for value in values if value is not None]
    numbers = [value for value in known if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(known) or len(set(numbers)) <= TICKS:
        kinds = sorted(set(known), key=lambda v: (0, v, "") if v in numbers else (1, 0, str(v)))
        place = {kind: i / max(1, len(kinds) - 1) for i, kind in enumerate(kinds)}
        ticks = [(place[kind], label(kind)) for kind in kinds]
        few = ticks if len(ticks) <= TICKS else [ticks[0], ticks[-1]]
        return Scale(name, tuple(None if v is None else place[v] for v in values), tuple(few))
    low, high = min(numbers), max(numbers)
    turn = math.log if low > 0 and high > 10 * low else float
    span = turn(high) - turn(low)
    places = tuple(None if v is None else round((turn(v) - turn(low)) / span, 4) for v in values)
    return Scale(name, places, ((0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")))


def _parallel(metric: str, lives: Sequence[Life], columns: Mapping[str, Sequence[Any]]) -> Chart:
    scales = [scale(name, values) for name, values in list(columns.items())[: AXES - 1]]
    scales.append(scale(metric, [life.best for life in lives]))
    leading = max(1, len(lives) // _LEADING)
    groups = (
        (range(leading, len(lives)), FAINT, 1.0, "other trials"),
        (range(1, leading), WARM, 1.2, "the best tenth"),
        (range(1), ACCENT, 3.0, f"the best, {lives[0].trial}"),
    )
    traces: list[dict[str, Any]] = [
        line(INK, 1.0, x=[i, i], y=[0, 1], hoverinfo="skip", showlegend=False) for i in range(len(scales))
    ]
    for places, color, width, name in groups:
        if places:
            y = broken([[each.places[trial] for each in scales] for trial in places])
            x = broken([list(range(len(scales))) for _ in places])
            traces.append(line(color, width, x=x, y=y, name=name, hoverinfo="skip"))
    ticks = [(i, place, text) for i, each in enumerate(scales) for place, text in each.ticks]
    traces.append(
        {
            "type": "scatter",
            "mode": "text",
            "x": [i for i, _, _ in ticks],
            "y": [place for _, place, _ in ticks],
            "text": [cut(text, 10) for _, _, text in ticks],
            "textposition": "top center",
            "textfont": {"color": INK, "size": 11},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    )
    caption = (
        f"Parallel coordinates of {counted(len(lives), 'trial')}: each line is a trial, each upright a hyperparameter, "
        f"adapted ones at their last value; {metric} is the last."
    )
    names = [cut(each.name, 14) for each in scales]
    layout = {
        "xaxis": axis("", tickvals=list(range(len(scales))), ticktext=names, showgrid=False, zeroline=False),
        "yaxis": axis("", visible=False, range=[-0.05, 1.12]),
        "hovermode": False,
    }
    return Chart("parallel", caption, tuple(traces), layout, 420)


def _slices(metric: str, lives: Sequence[Life], columns: Mapping[str, Sequence[Any]]) -> Chart:
    traces = (
        points(MUTED, 6, "circle-open", name="not at the end"),
        points(INK, 7, name="done"),
        points(ACCENT, 13, "star", name="the best"),
    )
    traces = tuple({**trace, "hovertemplate": "%{text}<br>%{x}: %{y:.4g}<extra></extra>"} for trace in traces)  # type: ignore[assignment]
    choices = {name: _slice(metric, name, values, lives) for name, values in columns.items()}
    layout = {
        "xaxis": axis("value"),
        "yaxis": axis(f"best {metric}", **scaled(life.best for life in lives)),
        "hovermode": "closest",
    }
    caption = "The best value of each trial against one of its hyperparameters."
    return Chart("slice", caption, traces, layout, 380, ("hyperparameter",), choices)


def _slice(metric: str, name: str, values: Sequence[Any], lives: Sequence[Life]) -> Option:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    numeric = len(numbers) == len([value for value in values if value is not None]) and len(set(numbers)) > TICKS
    kinds: list[list[int]] = [[], [], []]
    for i, life in enumerate(lives):
        if values[i] is not None:
            kinds[2 if i == 0 else 1 if life.status == "done" else 0].append(i)
    data = tuple(
        {
            "x": [values[i] if numeric else label(values[i]) for i in kind],
            "y": [lives[i].best for i in kind],
            "text": [lives[i].trial for i in kind],
        }
        for kind in kinds
    )
    order = list(dict.fromkeys(text for _, text in scale(name, values).ticks)) if not numeric else []
    x = scaled(numbers, 10.0) if numeric else {"type": "category", "categoryarray": order}
    caption = f"Best {metric} of each trial against {name}, which is {label(values[0])} in the best one."
    return Option(caption, data, {"xaxis": {**x, "title": {"text": name}}})
