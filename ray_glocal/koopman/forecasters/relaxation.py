"""A Bayesian average over a constant with one relaxation, for learning curves from their beginning."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.koopman.deviation import log_time, noise_variance
from ray_glocal.koopman.extrapolation import clipped
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.tuning import (
    AMPLITUDE,
    CURVE_DRIFT,
    CURVE_TEMPER,
    FARTHEST,
    FEWEST,
    FLAT,
    POWERS,
    SHORTEST,
    TIMES,
)
from ray_glocal.koopman.window import SeriesWindow

_EXACT = 1e-6  # prior variance of the noise, in that of the curve


@dataclass(frozen=True)
class Relaxation(WindowForecaster):
    """Answer constant + amplitude * shape(time), averaged over exponentials and power laws of many rates.

    Made for the curve of one loss since the beginning of its training, which it tells from few reports and cheaply:
    each shape is a Bayesian regression in closed form, and the shapes are the same for all curves of one length. No
    relaxation is slower than the whole training, for who chooses its length expects it to end, and none crosses zero
    where no report has: losses do not. The shapes are weighted by their tempered evidence, for no curve is of just one;
    so the variance tells how much they still disagree. The change over the last half is added as a Brownian motion in
    log-time. Deterministic.

    Shapes as in Domhan et al. 2015 (Speeding up automatic hyperparameter optimization, IJCAI, table 1). The defaults
    were chosen on 120 small trainings and on simulated curves.

    Args:
        temper: Power of the evidence, 0 or more: 1 believes the shapes, 0 weighs them all alike.
        drift_share: Share of the squared change of the last half that is added per unit of log-time, 0 or more.

    Raises:
        ArgumentError: An argument is negative.
    """

    temper: float = CURVE_TEMPER
    drift_share: float = CURVE_DRIFT

    def __post_init__(self) -> None:
        for name in ("temper", "drift_share"):
            if not getattr(self, name) >= 0:
                raise ArgumentError(name, "be at least 0", getattr(self, name), "Leave it out for the default.")

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        series, length = window.series, window.length
        center, size = series.mean(axis=0), series.std(axis=0)
        size = np.where(size > 0, size, 1.0)
        shapes, ends, prior = _shapes(length, min(horizon, FARTHEST * length))
        slopes = shapes @ ((series - center) / size) / length
        logs = self.temper * _log_evidence(slopes, length) + np.log(prior)[:, None]
        weights = np.exp(logs - logs.max(axis=0))
        weights /= weights.sum(axis=0)
        zero = -center / size
        low, high = np.where((series > 0).all(0), zero, -np.inf), np.where((series < 0).all(0), zero, np.inf)
        means = np.clip(_shrunk(length) * slopes * ends[:, None], low, high)
        mean = np.sum(weights * means, axis=0)
        within = _noise(slopes, length) * (0.5 + (1 + _shrunk(length) * ends[:, None] ** 2) / length)
        variance = size**2 * np.sum(weights * (within + (means - mean) ** 2), axis=0)
        drift = self.drift_share * _late_change(series) ** 2 + noise_variance(series[-max(FEWEST, length // 2) :])
        variance = variance + drift * log_time(horizon, length)
        return Answer(clipped(center + size * mean, series), np.sqrt(variance), window.outcome)


@lru_cache(maxsize=512)
def _shapes(length: int, horizon: float) -> tuple[Array, Array, Array]:
    """Shapes over the window, of mean zero and variance one, [shape, time]; their values at the end; their priors.

    The first is flat: zero throughout.
    """
    times, end = np.arange(1.0, length + 1), length + horizon
    constants, powers = np.geomspace(SHORTEST, end, TIMES)[:, None], np.array(POWERS)[:, None]
    found = np.vstack([np.exp(-times / constants), times**-powers])
    last = np.concatenate([np.exp(-end / constants[:, 0]), end ** -powers[:, 0]])
    center, size = found.mean(axis=1), found.std(axis=1)
    shapes, ends = (found - center[:, None]) / size[:, None], (last - center) / size
    half = (1 - FLAT) / 2
    prior = np.concatenate([[FLAT], np.full(TIMES, half / TIMES), np.full(len(POWERS), half / len(POWERS))])
    return np.vstack([np.zeros(length), shapes]), np.concatenate([[0.0], ends]), prior


def _shrunk(length: int) -> float:
    """What the prior leaves of a slope."""
    return length * AMPLITUDE / (length * AMPLITUDE + 1)


def _squares(slopes: Array, length: int) -> Array:
    """What each shape leaves of the curve, and the prior's part, as a sum of squares [shape, channel]."""
    left: Array = length * (2 * _EXACT + np.maximum(1 - _shrunk(length) * slopes**2, 0.0))
    return left


def _log_evidence(slopes: Array, length: int) -> Array:
    """Student's evidence of each shape, for unknown level, amplitude and noise, up to a constant; [shape, channel]."""
    logs: Array = -(1 + 0.5 * (length - 1)) * np.log(_squares(slopes, length))
    logs[1:] -= 0.5 * np.log(1 + length * AMPLITUDE)  # the flat one has no amplitude
    return logs


def _noise(slopes: Array, length: int) -> Array:
    """Expected variance of the noise around each shape, [shape, channel]."""
    return _squares(slopes, length) / (length - 1)


def _late_change(series: Array) -> Array:
    """Change between the two quarters of the last half, shape [channel]."""
    half = series[len(series) // 2 :]
    middle = len(half) // 2
    change: Array = half[-middle:].mean(axis=0) - half[:middle].mean(axis=0)
    return change
