"""A Bayesian average over sets of decays, memories of noise and levels of noise."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.koopman.coordinates import Coordinates, coordinates
from ray_glocal.koopman.deviation import drift_variance, log_time, noise_variance, walk_variance
from ray_glocal.koopman.extrapolation import clipped
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.noise import Noise
from ray_glocal.koopman.proposals import designs, proposals
from ray_glocal.koopman.regression import Regressions, regress
from ray_glocal.koopman.tuning import DIRECTIONS, DRIFT_SHARE, LEVELS, MEMORIES, NOISE_SHARE, TEMPER, WALK_SHARE
from ray_glocal.koopman.window import SeriesWindow

NOISES = tuple(Noise(memory) for memory in MEMORIES)
_FAR = 1e4  # windows; every clipped mode is gone by then, so the limit is this horizon


@dataclass(frozen=True)
class Evidence(WindowForecaster):
    """Average what every set of proposed decays foretells, weighted by how well it explains the window.

    Signal: a constant and decays whose eigenvalues are proposed by Hankel DMD or a logarithmic grid. Noise: white,
    autoregressive or a random walk, at eight levels. Each combination is a linear regression in closed form; white
    noise about a constant is the mean of the window, a random walk its last value. The evidence is tempered, for no
    model is true. The variance adds up that of the average, a share of the noise of one snapshot and of all the noise
    that increments may have left in it, and a Brownian motion in log-time of the window's drift. Deterministic.

    The defaults were chosen on half of some hundred recorded trainings (`examples/studies/bed.py`).

    Args:
        temper: Power of the evidence, 0 or more: 1 believes the models, 0 weighs them all by their priors.
        noise_share: Share of the noise variance of one snapshot that reaches the forecast, 0 or more.
        walk_share: Share of the variance of noisy increments that does; 0 or more.
        drift_share: Share of the window's squared drift that is added per unit of log-time, 0 or more.

    Raises:
        ArgumentError: An argument is negative.
    """

    temper: float = TEMPER
    noise_share: float = NOISE_SHARE
    walk_share: float = WALK_SHARE
    drift_share: float = DRIFT_SHARE

    def __post_init__(self) -> None:
        for name in ("temper", "noise_share", "walk_share", "drift_share"):
            if not getattr(self, name) >= 0:
                raise ArgumentError(name, "be at least 0", getattr(self, name), "Leave it out for the default.")

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        series, length = window.series, window.length
        frame = coordinates(series, centered=True, most=DIRECTIONS)
        values = frame.enter(series)
        sizes = _sizes(values)
        tried, prior = proposals(values, _offset(frame))
        far = min(horizon, _FAR * length)
        made = designs(tried, length, far)
        found = [regress(values / sizes, made, noise, LEVELS, far) for noise in NOISES]
        mean, spread = mixture(found, self.temper, prior)
        variance = _variance(spread * sizes**2, frame)
        variance = variance + self.noise_share * noise_variance(series) + self.walk_share * walk_variance(series)
        variance = variance + self.drift_share * drift_variance(series) * log_time(horizon, length)
        return Answer(clipped(frame.leave(mean * sizes), series), np.sqrt(variance), window.outcome)


def mixture(found: list[Regressions], temper: float, prior: Array) -> tuple[Array, Array]:
    """Average regressions, weighted by prior and tempered evidence.

    Args:
        found: Regressions on the same designs, one for each kind of noise.
        temper: Power of the evidence.
        prior: Of each design, shape [design].

    Returns:
        Expected value at the horizon and its variance, for unknown coefficients and unknown model; [channel] each.
    """
    logs = temper * np.stack([each.log_evidence for each in found]) + np.log(prior)[:, None]
    weights = np.exp(logs - logs.max(axis=(0, 1, 2)))
    weights /= weights.sum(axis=(0, 1, 2))
    means = np.stack([each.mean for each in found])
    mean: Array = np.sum(weights * means, axis=(0, 1, 2))
    within = np.stack([each.variance for each in found])[..., None]
    variance: Array = np.sum(weights * (within + (means - mean) ** 2), axis=(0, 1, 2))
    return mean, variance


def _sizes(values: Array) -> Array:
    """Deviation of each direction of centred values, shape [direction]; one where nothing moves."""
    sizes = np.sqrt(np.mean(values**2, axis=0))
    positive: Array = np.where(sizes > 0, sizes, 1.0)
    return positive


def _offset(frame: Coordinates) -> Array:
    """What undoes the centring, in the frame's coordinates."""
    offset: Array = frame.origin / frame.scale
    return offset if frame.directions is None else frame.directions @ offset


def _variance(spread: Array, frame: Coordinates) -> Array:
    """Variances of independent directions, in the channels' units."""
    scale = np.where(np.isinf(frame.scale), 0.0, frame.scale)
    shared: Array = spread if frame.directions is None else spread @ frame.directions**2
    variance: Array = shared * scale**2
    return variance
