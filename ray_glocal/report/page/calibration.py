"""Forecasts of the end against what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_glocal.report.experiment import Experiment
from ray_glocal.report.layout import shown
from ray_glocal.report.page.chart import ACCENT, INK, MUTED, WARM, Chart, Section, axis, line, points, scaled
from ray_glocal.report.page.curves import SURE
from ray_glocal.report.page.figures import counted, median, rounded, share_of, thinned
from ray_glocal.report.page.forecasts import Made
from ray_glocal.report.page.life import Life
from ray_glocal.report.trial import Run, number

POINTS = 12_000
_QUARTERS = (("first quarter", MUTED), ("second quarter", MUTED), ("third quarter", WARM), ("last quarter", ACCENT))


@dataclass(frozen=True)
class Foretold:
    """A forecast of a trial that came to its end.

    Args:
        trial: Tune's trial id.
        step: When it was made.
        progress: Share of the trial's steps that had passed, in (0, 1].
        forecast: The value foretold.
        deviation: Its standard deviation; None where unknown.
        came: The value that the trial reported last.
    """

    trial: str
    step: float
    progress: float
    forecast: float
    deviation: float | None
    came: float

    @property
    def held(self) -> bool | None:
        """Whether the interval that should hold 95 of 100 values held what came; None without a deviation."""
        return None if self.deviation is None else abs(self.came - self.forecast) <= SURE * self.deviation


def foretold(
    experiment: Experiment, lives: Sequence[Life], forecasts: Mapping[str, Sequence[Made]]
) -> tuple[Foretold, ...]:
    """Every forecast but a trial's last, of the trials that came to their end; thinned where they are many."""
    runs = {run.id: run for run in experiment.runs}
    out: list[Foretold] = []
    for life in lives:
        end = _end(runs[life.trial], experiment.metric) if life.status == "done" else None
        if end is not None:
            out += _of(life.trial, *end, forecasts.get(life.trial, ()))
    return tuple(out[i] for i in thinned(len(out), POINTS))


def _end(run: Run, metric: str) -> tuple[float, float] | None:
    """The last step of a trial and the value there; None where it is no finite number."""
    values = [(step, number(row, metric)) for row in run.rows if (step := number(row, run.clock)) is not None]
    step, value = max(values, key=lambda each: each[0], default=(0.0, None))
    return None if rounded(value) is None or value is None or step <= 0 else (step, value)


def _of(trial: str, end: float, came: float, forecasts: Sequence[Made]) -> list[Foretold]:
    earlier = [made for made in forecasts if made.step < end]
    earlier = [earlier[i] for i in thinned(len(earlier), share_of(POINTS, 1, 2, 200))]
    return [
        Foretold(
            trial, m.step, round(m.step / end, 4), rounded(m.mean) or 0.0, rounded(m.deviation), rounded(came) or 0.0
        )
        for m in earlier
    ]


def section(metric: str, forecasts: Sequence[Foretold]) -> Section:
    """Foretold against come."""
    if not forecasts:
        text = "No trial that came to its end had foretold it before, so nothing can be compared."
        return Section("calibration", "Calibration", "No forecast can be held against its end yet", (text,))
    late = [each for each in forecasts if each.progress >= 0.5] or list(forecasts)
    half = "in the second half of training " if late[0].progress >= 0.5 and len(late) < len(forecasts) else ""
    title = f"Forecasts made {half}were off by {_off(late)}, half of them by more"
    known = [each.held for each in forecasts if each.held is not None]
    held: list[str] = []
    if known:
        held.append(
            f"{sum(known):,} of {len(known):,} intervals that should hold 95 of 100 values held what came "
            f"({sum(known) / len(known):.0%})."
        )
    return Section("calibration", "Calibration", title, tuple(held), (_chart(metric, forecasts),))


def _off(forecasts: Sequence[Foretold]) -> str:
    """The median error, as a share of what came, or as it is where all that came is 0."""
    shares = [abs(each.forecast - each.came) / abs(each.came) for each in forecasts if each.came]
    return f"{median(shares):.1%}" if shares else shown(median(abs(each.forecast) for each in forecasts))


def _chart(metric: str, forecasts: Sequence[Foretold]) -> Chart:
    ends = [value for each in forecasts for value in (each.forecast, each.came)]
    low, high = min(ends), max(ends)
    kind = scaled(ends, 5.0)
    traces = [line(INK, 1.0, x=[low, high], y=[low, high], name="as foretold", hoverinfo="skip")]
    for quarter, (name, color) in enumerate(_QUARTERS):
        those = [each for each in forecasts if min(3, int(4 * each.progress)) == quarter]
        if those:
            traces.append(_cloud(those, name, color, "circle-open" if quarter == 0 else "circle"))
    trials = counted(len({each.trial for each in forecasts}), "trial")
    caption = (
        f"{counted(len(forecasts), 'forecast')} of {trials} that came to the end: foretold to the right, what came "
        "upwards. On the line they agree. Colours tell how much of training had passed."
    )
    layout = {
        "xaxis": axis(f"foretold {metric}", **kind),
        "yaxis": axis(f"{metric} that came", **kind),
        "hovermode": "closest",
    }
    return Chart("calibration-chart", caption, tuple(traces), layout, 420)


def _cloud(those: Sequence[Foretold], name: str, color: str, symbol: str) -> dict[str, object]:
    text = [f"{each.trial}, step {each.step:g}" for each in those]
    x, y = [each.forecast for each in those], [each.came for each in those]
    return points(
        color, 6, symbol, x=x, y=y, text=text, name=name, hovertemplate="%{text}<br>%{x} → %{y}<extra></extra>"
    )
