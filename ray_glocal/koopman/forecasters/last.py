"""The last snapshot: the local hypergradient as it is, and the yardstick of every forecast."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.koopman.deviation import drift_variance, log_time, noise_variance
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.window import Window


@dataclass(frozen=True)
class Last(WindowForecaster):
    """Answer the last snapshot; its deviation is the noise of one snapshot and the window's drift in log-time."""

    def _answer(self, window: Window, horizon: float) -> Answer:
        drift = drift_variance(window.series) * log_time(horizon, window.length)
        return Answer(window.last, np.sqrt(noise_variance(window.series) + drift), window.outcome)
