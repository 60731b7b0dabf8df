"""The validation curve so far, and the loss it foretells for the end of training."""

import math
from collections.abc import Sequence

import numpy as np

from ray_glocal.forecast import Forecast, Kind
from ray_glocal.koopman import forecaster


def forecast_final_loss(losses: Sequence[float], reports_left: float, name: str) -> Forecast:
    """Forecast the validation loss at the end of training from its values at past reports.

    Works on the logarithm where every loss is positive: losses decay by factors.

    Args:
        losses: Validation loss at each report, oldest first.
        reports_left: Reports until the end of training.
        name: Forecaster of `ray_glocal.koopman`.
    """
    if not all(math.isfinite(loss) for loss in losses):
        return Forecast.refused(1, reports_left, Kind.NONFINITE, "a reported loss is not finite")
    series = np.asarray(losses, dtype=np.float64)[:, None]
    positive = bool(np.all(series > 0))
    foretold = forecaster(name).forecast(np.log(series) if positive else series, reports_left)
    if not positive or not foretold.outcome.usable:
        return foretold
    ceiling = 2 * np.log(series.max()) - np.log(series.min()) + 1  # an e-fold above the curve's own range, mirrored
    mean = np.exp(np.minimum(foretold.mean, ceiling))
    return Forecast(mean, mean * foretold.deviation, reports_left, foretold.outcome)
