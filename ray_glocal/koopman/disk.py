"""The disk that eigenvalues are clipped to before they are raised to a power."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.tuning import OSCILLATION, TREND

Complex = NDArray[np.complex128]
UNIT_TOLERANCE = 1e-8  # an eigenvalue this near the unit circle does not decay within any training run


@dataclass(frozen=True)
class Disk:
    """Largest moduli that a forecast believes; larger ones are clipped, their angle kept.

    Args:
        real: Radius for positive real eigenvalues, above 0 and at most 1.
        oscillating: Radius for complex and negative ones, above 0 and at most 1.

    Raises:
        ArgumentError: A radius out of range.
    """

    real: float = 1.0
    oscillating: float = 1.0

    def __post_init__(self) -> None:
        for name, radius in (("real", self.real), ("oscillating", self.oscillating)):
            if not 0 < radius <= 1:
                raise ArgumentError(name, "be above 0 and at most 1", radius, "A radius above 1 lets modes explode.")

    def clip(self, eigenvalues: Complex) -> Complex:
        """Clip eigenvalues [mode] to the disk."""
        radius = self._radius(eigenvalues)
        # Dividing by a subnormal modulus overflows; max(modulus, radius) leaves eigenvalues inside untouched.
        clipped: Complex = eigenvalues * (radius / np.maximum(np.abs(eigenvalues), radius))
        return clipped

    def outside(self, eigenvalues: Complex) -> NDArray[np.bool_]:
        """Tell which eigenvalues [mode] the clip moves by more than rounding error."""
        moved: NDArray[np.bool_] = np.abs(eigenvalues) > self._radius(eigenvalues) + UNIT_TOLERANCE
        return moved

    def _radius(self, eigenvalues: Complex) -> NDArray[np.float64]:
        return np.where((eigenvalues.imag == 0) & (eigenvalues.real > 0), self.real, self.oscillating)


UNIT_DISK = Disk()


def damped_disk(length: int) -> Disk:
    """Disk for noisy windows: a trend may last ten windows more, an oscillation three.

    A window of `length` steps cannot tell a slower decay from none; noise puts eigenvalues on either side of one.

    Args:
        length: Snapshots in the window, at least 1.

    Returns:
        Radii exp(-1 / (10 length)) and exp(-1 / (3 length)).
    """
    return Disk(math.exp(-1 / (TREND * length)), math.exp(-1 / (OSCILLATION * length)))
