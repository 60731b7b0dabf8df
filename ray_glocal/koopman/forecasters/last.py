"""The last snapshot: the local hypergradient as it is, and the yardstick of every forecast."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.forecast import Array, Forecast
from ray_glocal.koopman.deviation import drift_variance, log_time, noise_variance
from ray_glocal.koopman.forecasters.answer import Answer, answered
from ray_glocal.koopman.window import Window


@dataclass(frozen=True)
class Last:
    """Answer the last snapshot; its deviation is the noise of one snapshot and the window's drift in log-time."""

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
        drift = drift_variance(window.series) * log_time(horizon, window.length)
        return Answer(window.last, np.sqrt(noise_variance(window.series) + drift), window.outcome)
