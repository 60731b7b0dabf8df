"""Where each continuous hyperparameter went in each trial, and what the hypergradients said on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_glocal.names import (
    ACT,
    ACT_SMALL,
    DEVIATION,
    ELASTICITY,
    FORECAST,
    GATE,
    HOLD,
    HYPER,
    HYPERPARAMETER,
    LOCAL,
    REASON,
    STEP,
    TRAJECTORY,
    VALUE,
    entry_key,
)
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.layout import shown
from ray_glocal.report.page.chart import (
    ACCENT,
    INK,
    MUTED,
    WARM,
    Chart,
    Option,
    Section,
    Trace,
    axis,
    band,
    framed,
    line,
    outline,
    points,
    scaled,
)
from ray_glocal.report.page.curves import SURE
from ray_glocal.report.page.figures import column, share_of, thinned
from ray_glocal.report.page.life import Life
from ray_glocal.report.trial import Run, number

PATHS = 4000  # of hyperparameters in trials, those of the best trials first
POINTS, LEAST, MOST = 120_000, 20, 300
SENTENCES = 8000  # reasons in the page; beyond, the traces have them
_GATES = (("acts", ACCENT, "circle"), ("acts small", WARM, "circle"), ("holds", MUTED, "circle-open"))
_KINDS = {ACT: 0, ACT_SMALL: 1, HOLD: 2}
_RETREAT = ("goes back", INK, "x")


@dataclass(frozen=True)
class Path:
    """A hyperparameter in a trial: one entry for each hypergradient, or for each result where there is no trace.

    Args:
        step: Inner steps taken.
        value: The value that the hypergradient was taken at.
        local: Local hypergradient, of the validation loss per unit of the coordinate; where there is no trace, the
            elasticity that the result tells.
        forecast: The glocal one: forecast to the end of training; by first-order sessions the mean of the latest.
        deviation: Its standard deviation; None where unknown.
        gate: What it was answered: "act", "act small", "hold"; another word where training went back.
        reason: The sentence that goes with it; empty where the page has no room for it.
        windows: Whether it was seen in differentiated windows, whose hypergradients are forecast.
    """

    step: tuple[float | None, ...]
    value: tuple[float | None, ...]
    local: tuple[float | None, ...]
    forecast: tuple[float | None, ...]
    deviation: tuple[float | None, ...]
    gate: tuple[str, ...]
    reason: tuple[str, ...]
    windows: bool


def paths(
    experiment: Experiment, lives: Sequence[Life], traces: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, dict[str, Path]]:
    """The path of each hyperparameter of each trial, the best trials first."""
    runs = {run.id: run for run in experiment.runs}
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    count = 0
    for life in lives:
        run = runs[life.trial]
        rows_of = _by_trace(traces[life.trial], run) if life.trial in traces else _by_results(run)
        if rows_of and count + len(rows_of) <= max(PATHS, len(rows_of)):
            found[life.trial], count = rows_of, count + len(rows_of)
    points, left = share_of(POINTS, count, LEAST, MOST), SENTENCES
    out: dict[str, dict[str, Path]] = {}
    for trial, rows_of in found.items():
        out[trial] = {name: _path(rows, points, reasons=left > 0) for name, rows in rows_of.items()}
        left -= sum(len(path.step) for path in out[trial].values())
    return out


def _by_trace(rows: Sequence[Mapping[str, Any]], run: Run) -> dict[str, list[Mapping[str, Any]]]:
    """What the trace tells, and where the last result found each hyperparameter."""
    out: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        out.setdefault(row[HYPERPARAMETER], []).append(row)
    for name, own in out.items():
        last = {**_row(run.rows[-1], name, run.clock), LOCAL: None} if run.rows else {}
        if last.get(VALUE) is not None and (last[STEP] or 0) > own[-1][STEP]:
            own.append(last)
    return out


def _by_results(run: Run) -> dict[str, list[Mapping[str, Any]]]:
    """What results tell of a session's hyperparameters."""
    names = dict.fromkeys(key.removeprefix(HYPER) for row in run.rows for key in row if key.startswith(HYPER))
    own = {name: [_row(row, name, run.clock) for row in run.rows] for name in names}
    return {name: [row for row in rows if row[VALUE] is not None] for name, rows in own.items()}


def _row(row: Mapping[str, Any], name: str, clock: str) -> Mapping[str, Any]:
    return {
        STEP: number(row, clock),
        VALUE: number(row, HYPER + entry_key(name)),
        LOCAL: number(row, ELASTICITY + entry_key(name)),
        FORECAST: None,
        DEVIATION: None,
        GATE: "",
        REASON: "",
    }


def _path(rows: Sequence[Mapping[str, Any]], points: int, *, reasons: bool) -> Path:
    kept = [rows[i] for i in thinned(len(rows), points)]
    numbers = {key: column(row[key] for row in kept) for key in ("step", "value", "local", "forecast", "deviation")}
    return Path(
        **numbers,
        gate=tuple(row[GATE] for row in kept),
        reason=tuple(row[REASON] for row in kept) if reasons else (),
        windows=any(row.get(TRAJECTORY) for row in rows),
    )


def section(lives: Sequence[Life], drawn: Mapping[str, Mapping[str, Path]]) -> Section:
    """One hyperparameter of one trial."""
    if not drawn:
        text = "No trial adapted a hyperparameter by a session, so there is nothing to follow here."
        return Section("hyperparameters", "Hyperparameters", "No hyperparameter was adapted", (text,))
    first = next(iter(drawn))
    name, path = max(drawn[first].items(), key=lambda each: _distance(each[1]))
    title = f"In {'the best trial' if first == lives[0].trial else f'trial {first}'} {_moved(name, path)}"
    title += f", the furthest of {len(drawn[first])} hyperparameters" if len(drawn[first]) > 1 else ""
    some = f"{len(drawn):,} of {len(lives):,} trials are here, the best first."
    return Section("hyperparameters", "Hyperparameters", title, (some,) * (len(drawn) < len(lives)), (_chart(drawn),))


def _moved(name: str, path: Path) -> str:
    known = [value for value in path.value if value is not None]
    if not known or known[0] == known[-1]:
        return f"{name} stayed" + (f" at {shown(known[0])}" if known else "")
    return f"{name} went from {shown(known[0])} to {shown(known[-1])}"


def _distance(path: Path) -> float:
    """How far it went, in e-folds where it is positive."""
    known = [value for value in path.value if value is not None]
    if not known:
        return 0.0
    first, last = known[0], known[-1]
    return abs(math.log(last / first)) if first > 0 and last > 0 else abs(last - first)


def _chart(drawn: Mapping[str, Mapping[str, Path]]) -> Chart:
    gates = [points(color, 7, symbol, name=name) for name, color, symbol in (*_GATES, _RETREAT)]
    traces = (
        line(MUTED, 1.2, name="value", showlegend=False),
        *({**gate, "hovertemplate": "%{x}: %{y:.4g}<br>%{text}<extra></extra>"} for gate in gates),
        band(name="interval", yaxis="y2", showlegend=False),
        line(MUTED, 1.0, name="local hypergradient", mode="lines+markers", marker={"size": 4}, yaxis="y2"),
        line(ACCENT, 2.0, name="glocal, to the end", yaxis="y2"),
    )
    layout = {
        "xaxis": axis("step", anchor="y2"),
        "yaxis": axis("value", domain=[0.54, 1.0]),
        "yaxis2": axis("hypergradient", domain=[0.0, 0.44], zeroline=True),
        "hovermode": "closest",
    }
    choices = {trial: {name: _choice(trial, name, path) for name, path in by.items()} for trial, by in drawn.items()}
    caption = "A hyperparameter's value, each point with the gate's answer, above its local and glocal hypergradients."
    return Chart("path", caption, traces, layout, 480, ("trial", "hyperparameter"), choices)


def _choice(trial: str, name: str, path: Path) -> Option:
    places = [i for i, value in enumerate(path.value) if value is not None]
    kinds: list[list[int]] = [[] for _ in range(len(_GATES) + 1)]
    for i in places:
        if path.gate[i]:
            kinds[_KINDS.get(path.gate[i], len(_GATES))].append(i)
    marks = [
        {
            "x": [path.step[i] for i in kind],
            "y": [path.value[i] for i in kind],
            "text": [path.reason[i] for i in kind] if path.reason else [],
        }
        for kind in kinds
    ]
    glocal = any(value is not None for value in path.forecast)
    far = [None if deviation is None else SURE * deviation for deviation in path.deviation]
    data: tuple[Trace, ...] = (
        {"x": path.step, "y": path.value},
        *marks,
        outline(path.step, path.forecast, far),
        {"x": path.step, "y": path.local},
        {"x": path.step if glocal else (), "y": path.forecast if glocal else ()},
    )
    caption = _caption(trial, name, path, kinds, glocal=glocal)
    return Option(caption, data, {"yaxis": scaled(path.value, 10.0), "yaxis2": framed((*path.local, *path.forecast))})


def _caption(trial: str, name: str, path: Path, kinds: Sequence[Sequence[int]], *, glocal: bool) -> str:
    caption = f"Trial {trial}: {_moved(name, path)}."
    if any(path.gate):
        answers = [
            f"{word} at {len(kind)}" for (word, _, _), kind in zip((*_GATES, _RETREAT), kinds, strict=True) if kind
        ]
        caption += f" Of {sum(map(len, kinds))} answers shown it {', '.join(answers)}."
    if glocal:
        caption += "" if path.windows else " Of a first-order session the glocal line is the mean of its latest looks."
        caption += " The band holds 95 of 100 glocal hypergradients if their deviations are right."
    return caption
