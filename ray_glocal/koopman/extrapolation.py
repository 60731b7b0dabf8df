"""How far outside a window an extrapolation is believed."""

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.koopman.tuning import BEYOND


def clipped(values: Array, series: Array) -> Array:
    """Clip extrapolations to ten ranges of the window on either side of it.

    Args:
        values: Shape [..., channel].
        series: The window, shape [time, channel].

    Returns:
        Shape [..., channel].
    """
    low, high = series.min(axis=0), series.max(axis=0)
    beyond = BEYOND * (high - low)
    return np.clip(values, low - beyond, high + beyond)
