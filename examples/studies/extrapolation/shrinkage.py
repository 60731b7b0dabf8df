"""Shrinkage of an uncertain value towards zero."""

import numpy as np

from ray_glocal.forecast import Array


def shrunk(mean: Array, deviation: Array) -> Array:
    """Shrink by the signal-to-noise ratio: mean * snr^2 / (1 + snr^2), snr = |mean| / deviation.

    Args:
        mean: Shape [channel].
        deviation: Shape [channel]; where it is zero nothing shrinks.

    Returns:
        Shape [channel].
    """
    square = mean**2
    total = square + deviation**2
    factors: Array = square / np.where(total > 0, total, 1.0)
    return mean * factors
