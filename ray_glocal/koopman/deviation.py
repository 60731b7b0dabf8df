"""Deviations that grow with the logarithm of time.

Training slows down: what a window saw change in its own length, the next ten windows change about twice as much, not
ten times. So the drift of a window is taken as a Brownian motion in log-time, and its variance at a horizon H is
drift^2 * log(1 + H / length). All functions expect series of order one, as `WindowForecaster` hands them on.
"""

import math
from functools import lru_cache

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.koopman.tuning import BLOCKS, FARTHEST, STRIDES


def noise_variance(series: Array) -> Array:
    """Variance of white observation noise, from second differences, which no straight trend disturbs.

    Args:
        series: At least 3 snapshots, shape [time, channel].

    Returns:
        Shape [channel]. Noise that is correlated in time is partly missed, curvature partly counted.
    """
    bends = series[2:] - 2 * series[1:-1] + series[:-2]
    variance: Array = (bends**2).sum(axis=0) / (6 * len(bends))  # 6 = 1 + 4 + 1
    return variance


def drift_variance(series: Array) -> Array:
    """Squared change over the window: of its trend, or of its wandering, whichever is larger.

    Means of four blocks are compared: their steps add up where they share a sign (a trend) and add up in squares where
    they do not (a random walk). Noise of the block means is left in: drift below it cannot be seen.

    Args:
        series: At least 4 snapshots, shape [time, channel].

    Returns:
        Shape [channel].
    """
    starts, sizes = _blocks(len(series))
    means = np.add.reduceat(series, starts) / sizes
    steps = means[1:] - means[:-1]
    # Centres of the outer blocks are three quarters of a window apart.
    stretch = BLOCKS / (BLOCKS - 1)
    trend: Array = (stretch * steps.sum(axis=0)) ** 2
    wandering: Array = stretch * np.sum(steps**2, axis=0)
    return np.maximum(trend, wandering)


def walk_variance(series: Array) -> Array:
    """Variance of the last snapshot as the sum of noisy increments, which no straight or evenly bent trend disturbs.

    A trajectory by lag adds up contributions of single steps. The increments of five strides are compared: long enough
    that the memory of momentum is over, and their second differences leave out what changes evenly.

    Args:
        series: At least 4 snapshots, shape [time, channel].

    Returns:
        Shape [channel]. White noise of the snapshots themselves is counted too, about seventeen times.
    """
    places = np.linspace(0, len(series) - 1, STRIDES + 1)
    before = np.minimum(places.astype(np.intp), len(series) - 2)
    # Between snapshots, so that strides are of one length whatever the window's.
    at = series[before] + (places - before)[:, None] * (series[before + 1] - series[before])
    strides = at[1:] - at[:-1]
    bends = strides[2:] - 2 * strides[1:-1] + strides[:-2]
    variance: Array = STRIDES * np.sum(bends**2, axis=0) / (6 * len(bends))
    return variance


@lru_cache(maxsize=256)
def _blocks(length: int) -> tuple[list[int], Array]:
    """First snapshots of the blocks, and their sizes [block, 1]."""
    edges = [block * length // BLOCKS for block in range(BLOCKS + 1)]
    return edges[:-1], np.diff(edges)[:, None].astype(np.float64)


def log_time(horizon: float, length: float) -> float:
    """Log-time from the last snapshot to the horizon, log(1 + horizon / length), finite in the limit."""
    return math.log1p(min(horizon / length, FARTHEST))


def window_variance(series: Array, horizon: float) -> Array:
    """Variance of a forecast that starts from one snapshot: that snapshot's noise, and the drift in log-time.

    Args:
        series: At least 4 snapshots, shape [time, channel].
        horizon: Steps ahead of the last one.

    Returns:
        Shape [channel].
    """
    variance: Array = noise_variance(series) + drift_variance(series) * log_time(horizon, len(series))
    return variance


def mean_variance(series: Array) -> Array:
    """Variance of the mean of correlated values: s^2 / n * (1 + r) / (1 - r), with r the lag-one correlation.

    Args:
        series: At least 2 snapshots, shape [time, channel].

    Returns:
        Shape [channel]; r is held within 0 and 1 - 2 / (n + 1), so that n values count as one at least.
    """
    length = len(series)
    centered = series - series.mean(axis=0)
    square = np.sum(centered**2, axis=0)
    lagged = np.sum(centered[1:] * centered[:-1], axis=0)
    correlation = np.clip(lagged / np.where(square > 0, square, 1.0), 0.0, 1 - 2 / (length + 1))
    variance: Array = square / max(length - 1, 1) / length * (1 + correlation) / (1 - correlation)
    return variance
