"""A straight line whose slope fades."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Array
from ray_glocal.koopman.deviation import window_variance
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.window import SeriesWindow

FADES = (0.0, 0.25, 1.0, 4.0)  # windows in which a slope falls to 1/e; zero: a level without one


@dataclass(frozen=True)
class Trend(WindowForecaster):
    """Answer level + slope * (phi + phi^2 + ... + phi^horizon), by least squares on the window's second half.

    The damping phi, or no slope at all, is chosen for each channel by a test inside the window: fitted to its first two
    thirds, the best one is nearest to the last third.
    Gardner & McKenzie 1985 (doi:10.1287/mnsc.31.10.1237), equation 3, with a line in place of exponential smoothing.
    """

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        series, length = window.series, window.length
        head = length - max(2, length // 3)
        tests = damped_lines(series[:head], np.arange(1.0, length - head + 1))
        errors = np.sum((tests - series[head:]) ** 2, axis=1)
        answers = damped_lines(series, np.array([horizon]))[:, 0]
        best = np.argmin(errors, axis=0)
        mean: Array = np.take_along_axis(answers, best[None], axis=0)[0]
        return Answer(mean, np.sqrt(window_variance(series, horizon)), window.outcome)


def damped_lines(series: Array, steps: NDArray[np.float64]) -> Array:
    """Continue a series by its level, and by lines that fade at each of `FADES`.

    Args:
        series: At least 2 snapshots, shape [time, channel].
        steps: Horizons ahead of the last one, shape [horizon].

    Returns:
        Shape [fade, horizon, channel].
    """
    half = series[-max(2, len(series) // 2) :]
    times = np.arange(len(half)) - 0.5 * (len(half) - 1)
    slope, center = times @ half / (times @ times), half.mean(axis=0)
    level = [center] + [center + times[-1] * slope] * (len(FADES) - 1)
    return np.stack(level)[:, None] + _reach(steps, len(series))[..., None] * slope


def _reach(steps: NDArray[np.float64], length: int) -> Array:
    """Sums phi + ... + phi^steps for each fade, shape [fade, horizon]; the exponents may be infinite."""
    rates = np.array([math.inf if fade == 0 else 1 / (fade * length) for fade in FADES])[:, None]
    passed = -np.expm1(np.where(steps > 0, -rates * np.maximum(steps, 1e-300), 0.0))
    sums: Array = passed / np.expm1(rates)
    return sums
