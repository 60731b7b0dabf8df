"""The validation curve so far, and the loss it foretells for the end of training."""

import math
from collections.abc import Sequence

import numpy as np

from ray_glocal.forecast import Forecast, Kind
from ray_glocal.koopman import forecaster


def forecast_final_loss(losses: Sequence[float], reports_left: float) -> Forecast:
    """Forecast the validation loss at the end of training from its values at past reports.

    Args:
        losses: Validation loss at each report, oldest first.
        reports_left: Reports until the end of training.
    """
    if not all(math.isfinite(loss) for loss in losses):
        return Forecast.refused(1, reports_left, Kind.NONFINITE, "a reported loss is not finite")
    return forecaster("relaxation").forecast(np.asarray(losses, dtype=np.float64)[:, None], reports_left)
