"""Shanks' transform of the window: the limit of a geometric decay from three numbers."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.koopman.deviation import noise_variance, window_variance
from ray_glocal.koopman.disk import damped_disk
from ray_glocal.koopman.extrapolation import clipped
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.tuning import BEYOND
from ray_glocal.koopman.window import SeriesWindow

SEEN = 2.0  # deviations that the first step must stand out from noise by before a ratio is made of it


@dataclass(frozen=True)
class Shanks(WindowForecaster):
    """Answer constant + one geometric decay through the means of three equal blocks, channel by channel.

    The first-order Shanks transform (Aitken's delta-squared process) of block means, which for constant + decay are a
    constant + decay themselves, so that it is exact there, and the noise of single snapshots is averaged first. Its
    ratio is kept within 0 and what `damped_disk` believes; where the first step drowns in noise, or the steps turn, the
    mean of the last block is left.
    Shanks 1955 (doi:10.1002/sapm19553411), section 2.
    """

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        series, size = window.series, window.length // 3
        blocks = series[-3 * size :].reshape(3, size, -1).mean(axis=1)
        noise = noise_variance(series) / size
        ratio = _ratios(blocks, noise, damped_disk(window.length).real ** size)
        limit = blocks[2] + (blocks[2] - blocks[1]) * ratio / (1 - ratio)
        root = ratio ** (1 / size)
        # From the mean of the last block to its last snapshot: a geometric sum undone.
        present = (blocks[2] - limit) * size * (1 - root) * root ** (size - 1) / (1 - ratio)
        mean = np.where(ratio > 0, limit + present * root**horizon, blocks[2])
        amplified = noise * (1 + 4 * ratio**2 + ratio**4) / (1 - ratio) ** 4 * (1 - root**horizon) ** 2
        largest = (BEYOND * np.ptp(series, axis=0)) ** 2
        variance = window_variance(series, horizon) + np.minimum(amplified, largest)
        return Answer(clipped(mean, series), np.sqrt(variance), window.outcome)


def _ratios(blocks: Array, noise: Array, largest: float) -> Array:
    """Ratios of the second step between blocks [3, channel] to the first, believed ones only; else zero."""
    first, second = blocks[1] - blocks[0], blocks[2] - blocks[1]
    seen = first**2 > 2 * SEEN**2 * noise
    ratios: Array = np.clip(second / np.where(seen, first, np.inf), 0.0, largest)
    return ratios
