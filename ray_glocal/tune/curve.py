"""Forecasting the metric of a trial that does not forecast itself."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from ray_glocal.forecast import Forecaster


def forecast_at(
    forecaster: Forecaster, losses: Sequence[tuple[float, float]], target: float
) -> tuple[float | None, float | None]:
    """Forecast loss at step `target` and its standard deviation, from a trial's reports.

    Reports are taken as equally spaced, by their mean distance. Nothing comes back where the forecaster refuses: the
    last loss then speaks for the trial.

    Args:
        forecaster: Forecasts a series [time, channel] a number of snapshots ahead.
        losses: (step, loss) of the reports.
        target: Step to forecast.
    """
    ordered = sorted({step: loss for step, loss in losses if math.isfinite(loss)}.items())
    if len(ordered) < 2:
        return None, None
    steps, values = np.array(ordered, dtype=np.float64).T
    spacing = (steps[-1] - steps[0]) / (len(steps) - 1)
    # A rung is an exact integer and may lie beyond the largest float.
    horizon = max(float(min(target, sys.float_info.max)) - steps[-1], 0.0) / spacing
    forecast = forecaster.forecast(values[:, None], horizon)
    mean, deviation = float(forecast.mean[0]), float(forecast.deviation[0])
    if not forecast.outcome.usable or not math.isfinite(mean):
        return None, None
    return mean, deviation if math.isfinite(deviation) else None
