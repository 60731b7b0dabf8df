"""The mean of the window's second half: smoothing without a model."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.koopman.deviation import drift_variance, log_time, mean_variance
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.window import SeriesWindow


@dataclass(frozen=True)
class Mean(WindowForecaster):
    """Answer the mean of the window's second half.

    Its deviation is that of a mean of correlated values, and the window's drift in log-time counted from the middle of
    the half, a quarter of a window before the last snapshot.
    """

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        half = window.series[window.length // 2 :]
        drift = drift_variance(window.series) * log_time(horizon + window.length / 4, window.length)
        return Answer(half.mean(axis=0), np.sqrt(mean_variance(half) + drift), window.outcome)
