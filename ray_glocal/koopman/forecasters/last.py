"""The last snapshot: the local hypergradient as it is, and the yardstick of every forecast."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.koopman.deviation import window_variance
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.window import SeriesWindow


@dataclass(frozen=True)
class Last(WindowForecaster):
    """Answer the last snapshot; its deviation is the noise of one snapshot and the window's drift in log-time."""

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        return Answer(window.last, np.sqrt(window_variance(window.series, horizon)), window.outcome)
