"""Reduced rank extrapolation: the fixed point of the linear recurrence that the window follows best."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.koopman.coordinates import coordinates
from ray_glocal.koopman.deviation import mean_variance, window_variance
from ray_glocal.koopman.extrapolation import clipped
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.tuning import BEYOND, DIRECTIONS
from ray_glocal.koopman.window import SeriesWindow

_ROUNDING = 1e-10  # singular values below this share of the largest are rounding error


@dataclass(frozen=True)
class ReducedRank(WindowForecaster):
    """Answer a weighted mean of successive snapshots whose weights cancel their increments: the limit of the window.

    The weights add up to one and are shared by all channels and all stretches of the window, so that few terms suffice
    and noise is averaged; the limits of the stretches in the second half are averaged too. Exact for a linear
    recurrence of that order. Whatever horizon is asked, the answer is that at the end of time: it amplifies noise, and
    is here to compare with.
    Eddy 1979 and Mesina 1977, as in Sidi 2017 (Vector Extrapolation Methods, doi:10.1137/1.9781611974966), section 1.4.

    Args:
        terms: Order of the recurrence, lowered where the window is short.

    Raises:
        ArgumentError: `terms` below 1, or not whole.
    """

    terms: int = 3

    def __post_init__(self) -> None:
        if not isinstance(self.terms, Integral) or self.terms < 1:
            raise ArgumentError("terms", "be a whole number of at least 1", self.terms, "Three suit most windows.")

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        series, terms = window.series, max(1, min(self.terms, window.length // 3))
        weights = _weights(_scaled(series), terms)
        late = _stretches(series, terms)[:, -max(2, window.length // 2) :]
        limits = np.tensordot(weights, late, axes=1)
        largest = (BEYOND * np.ptp(series, axis=0)) ** 2
        variance = window_variance(series, horizon) + np.minimum(mean_variance(limits), largest)
        return Answer(clipped(limits.mean(axis=0), series), np.sqrt(variance), window.outcome)


def _scaled(series: Array) -> Array:
    frame = coordinates(series, centered=True, most=DIRECTIONS)
    return frame.enter(series)


def _stretches(series: Array, terms: int) -> Array:
    """The series seen through `terms` + 1 shifts, shape [shift, stretch, channel]."""
    count = len(series) - terms
    return np.stack([series[shift : shift + count] for shift in range(terms + 1)])


def _weights(values: Array, terms: int) -> NDArray[np.float64]:
    """Weights [shift] that add up to one and leave the least of the increments, by least squares."""
    steps = _stretches(values[1:] - values[:-1], terms).reshape(terms + 1, -1)
    bends = steps[1:] - steps[0]
    later = np.linalg.lstsq(bends.T, -steps[0], rcond=_ROUNDING)[0]
    weights: NDArray[np.float64] = np.concatenate([[1 - later.sum()], later])
    return weights
