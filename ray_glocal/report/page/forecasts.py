"""Forecasts of a trial's end as they were made: by the ledger where there is one, or else by its results."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ray_glocal.names import FINAL_DEVIATION, FINAL_LOSS, VAL_LOSS
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.trial import Run, number
from ray_glocal.scheduling.event import Reported


@dataclass(frozen=True)
class Made:
    """A forecast.

    Args:
        step: When it was made.
        mean: The value foretold for the end, in the metric's own direction.
        deviation: Its standard deviation; None where unknown.
    """

    step: float
    mean: float
    deviation: float | None


def made(experiment: Experiment) -> dict[str, tuple[Made, ...]]:
    """The forecasts of each trial by step."""
    forecasts: dict[str, dict[float, Made]] = {run.id: _by_results(run, experiment.metric) for run in experiment.runs}
    for event in experiment.ledger.events if experiment.ledger is not None else ():
        if isinstance(event, Reported) and event.mean is not None and event.trial in forecasts:
            forecasts[event.trial][event.step] = Made(event.step, experiment.sign * event.mean, _known(event.deviation))
    return {trial: tuple(steps[step] for step in sorted(steps)) for trial, steps in forecasts.items() if steps}


def _by_results(run: Run, metric: str) -> dict[float, Made]:
    if metric != VAL_LOSS:
        return {}
    rows = [(number(row, run.clock), number(row, FINAL_LOSS), number(row, FINAL_DEVIATION)) for row in run.rows]
    return {s: Made(s, m, _known(d)) for s, m, d in rows if s is not None and m is not None and math.isfinite(m)}


def _known(deviation: float | None) -> float | None:
    return deviation if deviation is not None and math.isfinite(deviation) else None
