"""What the experiment cost, and what it had found by when."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ray_glocal.report.cost import TotalCost, steps_paid
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.page.chart import ACCENT, Chart, Section, axis, line, scaled
from ray_glocal.report.page.figures import column, duration, thinned
from ray_glocal.report.trial import Run, number

POINTS = 600


@dataclass(frozen=True)
class Spent:
    """The best value so far against what all trials together had paid by then.

    Args:
        steps: Inner-step equivalents; reported steps where trials count none.
        best: Best value of the metric so far.
    """

    steps: tuple[float | None, ...]
    best: tuple[float | None, ...]


def spent(experiment: Experiment) -> Spent:
    """By the clock of the results; empty where they tell no time."""
    moments = sorted(
        (moment for run in experiment.runs for moment in _moments(run, experiment.metric)), key=lambda each: each[0]
    )
    total, best, totals = 0.0, math.inf, []
    for _, paid, value in moments:
        total += paid
        if value is not None and math.isfinite(value):
            best = min(best, experiment.sign * value)
        if math.isfinite(best):
            totals.append((total, experiment.sign * best))
    kept = [totals[i] for i in thinned(len(totals), POINTS)]
    return Spent(column(steps for steps, _ in kept), column(value for _, value in kept))


def _moments(run: Run, metric: str) -> list[tuple[float, float, float | None]]:
    """Time of each result, what was paid since the one before, and the value."""
    timed = [
        (time, paid, number(row, metric))
        for row, paid in zip(run.rows, steps_paid(run), strict=True)
        if (time := number(row, "timestamp")) is not None
    ]
    before = [0.0, *(paid for _, paid, _ in timed)]
    return [(time, paid - earlier, value) for (time, paid, value), earlier in zip(timed, before, strict=False)]


def section(metric: str, cost: TotalCost, totals: Spent) -> Section:
    """The price in a sentence, and the best value so far."""
    unit = "inner-step equivalents" if cost.counted else "inner steps"
    title = f"{cost.steps:,.0f} {unit} in {duration(cost.seconds)} of trials"
    text = []
    if cost.hypergradients is not None:
        text.append(
            f"{cost.hypergradients:.1%} of the sessions' seconds went into hypergradients, validation and bookkeeping; "
            "the rest was plain training."
        )
    if not totals.steps:
        return Section("cost", "Cost", title, tuple(text))
    chart = Chart(
        "cost-chart",
        f"The best {metric} so far against the {unit} that all trials together had paid for it.",
        (
            line(
                ACCENT,
                2.5,
                x=totals.steps,
                y=totals.best,
                name=f"best {metric}",
                line={"color": ACCENT, "width": 2.5, "shape": "hv"},
            ),
        ),
        {
            "xaxis": axis(unit, rangemode="tozero"),
            "yaxis": axis(f"best {metric}", **scaled(totals.best)),
            "showlegend": False,
        },
        320,
    )
    return Section("cost", "Cost", title, tuple(text), (chart,))
