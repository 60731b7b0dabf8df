"""Which modes a prediction keeps, and the sentence why."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.disk import Complex
from ray_glocal.koopman.tuning import TOLERANCE


class Selection(Protocol):
    """A rule that keeps or drops modes by their eigenvalue; conjugate pairs must share their fate."""

    def keep(self, eigenvalues: Complex) -> NDArray[np.bool_]:
        """Tell which of the eigenvalues [mode] to keep."""
        ...

    def reason(self, eigenvalue: complex) -> str:
        """Say in one sentence why a mode is kept or dropped."""
        ...


@dataclass(frozen=True)
class Every:
    """Keep every mode that was fitted."""

    def keep(self, eigenvalues: Complex) -> NDArray[np.bool_]:
        """Keep all."""
        return np.ones(len(eigenvalues), dtype=np.bool_)

    def reason(self, eigenvalue: complex) -> str:
        """Say how the mode moves."""
        size = abs(eigenvalue)
        turn = "oscillates" if eigenvalue.imag or eigenvalue.real < 0 else "moves"
        if size >= 1:
            return f"Kept: it {turn} without decay."
        half = "at once" if size < 1e-3 else f"by half in {np.log(0.5) / np.log(size):.3g} steps"
        return f"Kept: it {turn} and decays {half}."


@dataclass(frozen=True)
class NearOne:
    """Keep modes whose eigenvalue is one within a tolerance: the paper's rule for the end of training.

    Hataya & Kawahara 2024 (arXiv:2402.02741), section 3; the paper states no tolerance.

    Args:
        tolerance: Largest |eigenvalue - 1|, above 0.

    Raises:
        ArgumentError: `tolerance` not above 0.
    """

    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ArgumentError("tolerance", "be above 0", self.tolerance, "Noise moves eigenvalues by 0.01 and more.")

    def keep(self, eigenvalues: Complex) -> NDArray[np.bool_]:
        """Keep eigenvalues near one."""
        return np.abs(eigenvalues - 1) <= self.tolerance

    def reason(self, eigenvalue: complex) -> str:
        """Say how far from one the eigenvalue is."""
        distance = abs(eigenvalue - 1)
        if distance <= self.tolerance:
            return f"Kept: one within {self.tolerance:g} (distance {distance:.2g}), so it lasts."
        return f"Dropped: {distance:.2g} away from one, more than {self.tolerance:g}, so it is taken to vanish."


EVERY = Every()
