"""Loss curves: what each trial reported, smoothed, with the forecasts of its end as they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_glocal.names import TOTAL_STEPS, TRAIN_LOSS
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.layout import shown
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
    band,
    broken,
    framed,
    line,
    outline,
    scaled,
)
from ray_glocal.report.page.figures import column, share_of, thinned
from ray_glocal.report.page.forecasts import Made
from ray_glocal.report.page.life import Life
from ray_glocal.report.trial import Run, number

POINTS = 160_000  # of all curves together
MOST, LEAST = 400, 60  # of one
OVERVIEW = 60_000  # of all curves in one chart
SMOOTHING = 0.6  # what an earlier result counts in the running average
SURE = 1.96  # deviations of an interval that holds 95 of 100 values
_EMPTY = {"visible": False, "range": [0, 1]}  # an axis without data: plotly finds no range for one above another
_LEAST = 1e-12  # lower end of an interval where logarithms are drawn


@dataclass(frozen=True)
class Curve:
    """What a trial reported, thinned to a few hundred results.

    Args:
        step: Its clock.
        value: The metric; None where it was no finite number.
        smooth: Running average of the metric over all results, the latest weighing most.
        train_loss: Mean training loss since the last report; empty where it reports none.
        forecast: The value foretold for the end at each of these results; None where nobody foretold one.
        deviation: Standard deviation of the forecast; None where unknown.
        total: Steps of a whole training; None where it does not say.
    """

    step: tuple[float | None, ...]
    value: tuple[float | None, ...]
    smooth: tuple[float | None, ...]
    train_loss: tuple[float | None, ...]
    forecast: tuple[float | None, ...]
    deviation: tuple[float | None, ...]
    total: float | None


def curves(experiment: Experiment, forecasts: Mapping[str, Sequence[Made]]) -> dict[str, Curve]:
    """The curve of each trial that reported."""
    points = share_of(POINTS, len(experiment.runs), LEAST, MOST)
    drawn = {run.id: _curve(run, experiment.metric, forecasts.get(run.id, ()), points) for run in experiment.runs}
    return {trial: curve for trial, curve in drawn.items() if curve.step}


def _curve(run: Run, metric: str, forecasts: Sequence[Made], points: int) -> Curve:
    # A step that was run again after a failure comes once, as it came last.
    rows = {step: row for row in run.rows if (step := number(row, run.clock)) is not None}
    steps = sorted(rows)
    values = [number(rows[step], metric) for step in steps]
    smooth, foretold = _smoothed(values), {made.step: made for made in forecasts}
    kept = thinned(len(steps), points)
    at = [steps[i] for i in kept]
    train = [number(rows[step], TRAIN_LOSS) for step in at]
    made = [foretold.get(step) for step in at]
    return Curve(
        step=column(at),
        value=column(values[i] for i in kept),
        smooth=column(smooth[i] for i in kept),
        train_loss=column(train) if any(value is not None for value in train) else (),
        forecast=column(m.mean if m else None for m in made) if forecasts else (),
        deviation=column(m.deviation if m else None for m in made) if forecasts else (),
        total=max((t for row in run.rows if (t := number(row, TOTAL_STEPS)) is not None), default=None),
    )


def _smoothed(values: Sequence[float | None]) -> list[float | None]:
    """The running average of what is finite, free of the weight that it would give to what came before the first."""
    out: list[float | None] = []
    total, weight = 0.0, 0.0
    for value in values:
        if value is not None and math.isfinite(value):
            total, weight = SMOOTHING * total + value, SMOOTHING * weight + 1.0
        out.append(total / weight if weight else None)
    return out


def section(metric: str, lives: Sequence[Life], drawn: Mapping[str, Curve]) -> Section:
    """All curves, and one of them with its forecasts."""
    best = lives[0] if lives and lives[0].best is not None else None
    if best is None:
        title = f"No trial reported a finite {metric}"
    else:
        title = f"The best trial, {best.trial}, came to {metric} {shown(best.best)}"
    if not drawn:
        return Section("curves", "Curves", title, ("No trial has reported yet.",))
    return Section("curves", "Curves", title, charts=(_all(metric, lives, drawn), _one(metric, lives, drawn)))


def _all(metric: str, lives: Sequence[Life], drawn: Mapping[str, Curve]) -> Chart:
    points = share_of(OVERVIEW, len(drawn), 12, 200)
    others = [drawn[life.trial] for life in lives[1:] if life.trial in drawn]
    traces = [_gathered(others, points, FAINT, 1.0, "other trials")]
    first = lives[0]
    if first.trial in drawn:
        traces.append(_gathered([drawn[first.trial]], MOST, ACCENT, 2.5, f"the best, {first.trial}"))
    caption = f"{metric} of every trial as reported; the best trial stands out."
    values = scaled(value for curve in drawn.values() for value in curve.value)
    layout = {"xaxis": axis("step"), "yaxis": axis(metric, **values), "hovermode": "closest"}
    return Chart("all-curves", caption, tuple(traces), layout)


def _gathered(some: Sequence[Curve], points: int, color: str, width: float, name: str) -> dict[str, object]:
    places = [thinned(len(curve.step), points) for curve in some]
    x = broken([[curve.step[i] for i in kept] for curve, kept in zip(some, places, strict=True)])
    y = broken([[curve.value[i] for i in kept] for curve, kept in zip(some, places, strict=True)])
    return line(color, width, x=x, y=y, name=name, hoverinfo="skip" if color == FAINT else "x+y")


def _one(metric: str, lives: Sequence[Life], drawn: Mapping[str, Curve]) -> Chart:
    traces = (
        band(name="95 of 100 forecasts", showlegend=False),
        line(FAINT, 1.2, name="training loss", yaxis="y" if _is_loss(metric) else "y2"),
        line(MUTED, 1.2, name=f"{metric} as reported", mode="lines+markers", marker={"size": 3}),
        line(ACCENT, 2.5, name="running average"),
        line(WARM, 1.8, name="forecast of the end", mode="lines+markers", marker={"size": 4}),
        line(INK, 1.0, name="what came", line={"color": INK, "width": 1, "dash": "dot"}),
    )
    choices = {life.trial: _choice(metric, life, drawn[life.trial]) for life in lives if life.trial in drawn}
    layout = {"xaxis": axis("step"), "yaxis": axis(metric), "hovermode": "x unified"}
    if not _is_loss(metric):
        layout["yaxis2"] = axis("training loss", overlaying="y", side="right", showgrid=False)
    caption = "One trial: what it reported, its running average, and at each step the forecast of its end made there."
    return Chart("curve", caption, traces, layout, 400, ("trial",), choices)


def _choice(metric: str, life: Life, curve: Curve) -> Option:
    beside = () if _is_loss(metric) else curve.train_loss
    drawn = framed((*curve.value, *curve.forecast, *(() if beside else curve.train_loss)))
    far = [None if deviation is None else SURE * deviation for deviation in curve.deviation]
    interval = outline(curve.step, curve.forecast, far, _LEAST if drawn["type"] == "log" else None)
    last = next((value for value in reversed(curve.value) if value is not None), None)
    came = [last, last] if curve.forecast and life.status == "done" and last is not None else []
    data = (
        interval,
        {"x": curve.step if curve.train_loss else (), "y": curve.train_loss},
        {"x": curve.step, "y": curve.value},
        {"x": curve.step, "y": curve.smooth},
        {"x": curve.step if curve.forecast else (), "y": curve.forecast},
        {"x": [curve.step[0], curve.step[-1]] if came else (), "y": came},
    )
    caption = f"Trial {life.trial} ({life.status}) came to step {shown(life.steps)}"
    caption += f" and a best {metric} of {shown(life.best)}." if life.best is not None else " without a finite value."
    final = next((value for value in reversed(curve.forecast) if value is not None), None)
    if final is not None:
        caption += f" Its last forecast of the end was {shown(final)}"
        caption += "; the band holds 95 of 100 forecasts if their deviations are right." if interval["x"] else "."
    other = scaled(beside) if beside else _EMPTY
    axes = {"yaxis": drawn} if _is_loss(metric) else {"yaxis": drawn, "yaxis2": other}
    return Option(caption, data, axes)


def _is_loss(metric: str) -> bool:
    """Whether a metric can stand on one axis with the training loss."""
    return "loss" in metric.lower()
