"""Delay embedding: a few noisy channels become enough coordinates for linear dynamics."""

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array


def delay_embedding(series: Array, delays: int) -> Array:
    """Stack each snapshot on its past: row t holds snapshots t - delays + 1 to t, oldest first.

    Only *past* delays are stacked, so the last row belongs to the last snapshot and nothing is looked up ahead.
    Takens 1981; Arbabi & Mezic 2017 (arXiv:1611.06664) for the use in DMD.

    Args:
        series: Snapshots one step apart, oldest first, shape [time, channel].
        delays: Snapshots in a row, the present one included, 1 to time.

    Returns:
        The rows, shape [time - delays + 1, delays * channel]; the present snapshot is the last `channel` columns.

    Raises:
        ArgumentError: `delays` out of range.
    """
    time = len(series)
    if not 1 <= delays <= time:
        rule = f"be between 1 and the number of snapshots, {time}"
        raise ArgumentError("delays", rule, delays, "Observe more snapshots or stack fewer.")
    if delays == 1:
        return series
    rows = time - delays + 1
    return np.concatenate([series[delay : delay + rows] for delay in range(delays)], axis=1)
