"""What every forecaster does around its own arithmetic: read, judge, rescale, and check what comes out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ray_glocal.forecast import Array, Forecast, Kind, Outcome
from ray_glocal.koopman.window import SeriesWindow, checked_horizon, checked_series, window


@dataclass(frozen=True, eq=False)
class Answer:
    """A forecaster's own part of a forecast.

    Args:
        mean: Shape [channel]; ignored where the outcome is not usable.
        deviation: Shape [channel]; ignored where the outcome is not usable.
        outcome: How far to trust them.
    """

    mean: Array
    deviation: Array
    outcome: Outcome


class WindowForecaster(ABC):
    """A forecaster that sees a judged window without spikes, and says only what it makes of that.

    Whoever inherits it gives `_answer(window, horizon)`, which returns an `Answer`: `window.series` are the snapshots,
    oldest first, shape [time, channel], `window.length` how many there are, `window.last` the last of them, and
    `window.outcome` how they were judged.

    Every channel is scaled by a power of two to order one: exact, and neither 1e-300 nor 1e150 gets lost when squared.
    """

    def forecast(self, series: ArrayLike, horizon: float) -> Forecast:
        """Predict a series a number of steps ahead of its last snapshot.

        Args:
            series: Snapshots one step apart, oldest first, shape [time, channel].
            horizon: Steps, 0 to math.inf.

        Returns:
            The forecast; for a window in which nothing moves its value, with deviation zero.

        Raises:
            ArgumentError: `series` is no real [time, channel] array, or `horizon` no number from 0 to infinity.
        """
        data, steps = checked_series(series), checked_horizon(horizon)
        judged = window(data)
        if not judged.outcome.usable:
            return Forecast.refused(data.shape[1], steps, judged.outcome.kind, judged.outcome.sentence)
        if judged.outcome.kind is Kind.CONSTANT:
            return Forecast(judged.last.copy(), np.zeros(data.shape[1]), steps, judged.outcome)
        units = _units(judged.series)
        given = self._answer(SeriesWindow(judged.series / units, judged.outcome, judged.spikes), steps)
        if not given.outcome.usable:
            return Forecast.refused(data.shape[1], steps, given.outcome.kind, given.outcome.sentence)
        if not (np.isfinite(given.mean).all() and np.isfinite(given.deviation).all()):
            sentence = "The arithmetic overflowed: the window does not determine a forecast; observe more snapshots."
            return Forecast.refused(data.shape[1], steps, Kind.UNDETERMINED, sentence)
        return Forecast(given.mean * units, given.deviation * units, steps, given.outcome)

    @abstractmethod
    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        """The forecaster's own arithmetic, on a window that moves."""


def _units(series: Array) -> Array:
    """Powers of two just above the largest value of each channel, shape [channel]; one for a channel of zeros."""
    _, exponents = np.frexp(np.abs(series).max(axis=0))
    units: Array = np.ldexp(1.0, exponents)
    return units
