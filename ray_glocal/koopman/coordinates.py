"""Unit-free coordinates for a joint fit: every channel scaled, many channels reduced to few directions."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Array
from ray_glocal.koopman.window import SMALLEST

Values = TypeVar("Values", Array, NDArray[np.complex128])
_ROUNDING = 1e-14  # movement below this share of a channel's size is rounding error


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Where a fit takes place: (series - origin) / scale, projected onto orthonormal directions.

    Args:
        origin: Value that becomes zero, shape [channel].
        scale: Size that becomes one, shape [channel]; infinite for a channel that stands still, which leaves the fit.
        directions: Orthonormal rows, shape [direction, channel], or None where each channel is its own direction.
    """

    origin: Array
    scale: Array
    directions: Array | None

    def enter(self, series: Array) -> Array:
        """Map [time, channel] to unit-free [time, direction]."""
        scaled: Array = (series - self.origin) / self.scale
        return scaled if self.directions is None else scaled @ self.directions.T

    def leave(self, values: Array) -> Array:
        """Map [..., direction] back to [..., channel]."""
        return self.origin + self.stretch(values)

    def stretch(self, values: Values) -> Values:
        """Map differences or (complex) modes [..., direction] back to [..., channel]: `leave` without the origin."""
        lifted: Values = values if self.directions is None else values @ self.directions
        # An infinite scale marks a channel that was left out: nothing comes back for it.
        stretched: Values = lifted * np.where(np.isinf(self.scale), 0.0, self.scale)
        return stretched


def coordinates(series: Array, centered: bool, most: int | None = None) -> Coordinates:
    """Choose the coordinates for one window.

    Scaling gives every channel the same say: hypergradients of different hyperparameters differ 10-100 times in size.
    Where channels outnumber snapshots, their span has at most `time` directions: projecting onto it loses nothing.

    Args:
        series: Snapshots, shape [time, channel].
        centered: Whether the mean becomes the origin and the spread the scale; else zero and the root mean square.
        most: Directions to keep at most, the strongest ones; None loses nothing.

    Returns:
        The coordinates.
    """
    origin = series.mean(axis=0) if centered else np.zeros(series.shape[1])
    extent = np.abs(series).max(axis=0)
    scale = _spread(series - origin, extent)
    limit = min(series.shape) if most is None else most
    if series.shape[1] <= limit:
        return Coordinates(origin, scale, None)
    return Coordinates(origin, scale, _principal((series - origin) / scale, limit))


def _spread(shifted: Array, extent: Array) -> Array:
    """Root mean square, computed on values near one so that neither squares of 1e-200 nor of 1e150 get lost."""
    unit = np.maximum(extent, SMALLEST)
    spread: Array = unit * np.sqrt(((shifted / unit) ** 2).sum(axis=0) / len(shifted))
    return np.where(spread <= np.maximum(_ROUNDING * extent, SMALLEST), np.inf, spread)


def _principal(scaled: Array, most: int) -> Array:
    """Strongest orthonormal directions of the rows, by QR first: cost linear in the channels."""
    tall = scaled.shape[1] > scaled.shape[0]
    basis, triangle = np.linalg.qr(scaled.T) if tall else (None, scaled.T)
    # Directions of rounding error stay: they are the noise floor by which a rank is chosen later.
    left = np.linalg.svd(triangle, full_matrices=False)[0][:, :most]
    return np.ascontiguousarray((left if basis is None else basis @ left).T)
