"""The mean of the window's second half: smoothing without a model."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.forecast import Array, Forecast
from ray_glocal.koopman.deviation import drift_variance, log_time, mean_variance
from ray_glocal.koopman.forecasters.answer import Answer, answered
from ray_glocal.koopman.window import Window


@dataclass(frozen=True)
class Mean:
    """Answer the mean of the window's second half.

    Its deviation is that of a mean of correlated values, and the window's drift in log-time counted from the middle of
    the half, a quarter of a window before the last snapshot.
    """

    def forecast(self, series: Array, horizon: float) -> Forecast:
        """Predict `series` [time, channel] `horizon` steps ahead of its last snapshot.

        Args:
            series: Snapshots one step apart, oldest first.
            horizon: Steps, 0 to math.inf.

        Returns:
            The forecast.

        Raises:
            ArgumentError: `series` is no real [time, channel] array, or `horizon` is out of range.
        """
        return answered(series, horizon, self._answer)

    def _answer(self, window: Window, horizon: float) -> Answer:
        half = window.series[window.length // 2 :]
        drift = drift_variance(window.series) * log_time(horizon + window.length / 4, window.length)
        return Answer(half.mean(axis=0), np.sqrt(mean_variance(half) + drift), window.outcome)
