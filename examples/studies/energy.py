"""A rank by the energy of the singular values, which no forecaster of the library keeps to."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array


@dataclass(frozen=True)
class EnergyRank:
    """Keep the fewest directions that hold a share of the energy (the sum of squared singular values).

    Args:
        share: Share of the energy to hold, above 0 and at most 1.

    Raises:
        ArgumentError: `share` out of range.
    """

    share: float = 0.999

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ArgumentError("share", "be above 0 and at most 1", self.share, "0.999 keeps all but a thousandth.")

    def choose(self, singular_values: Array, shape: tuple[int, int]) -> int:
        """Answer the smallest count whose squared singular values reach the share."""
        energy = np.cumsum(singular_values**2)
        return min(int(np.searchsorted(energy, self.share * energy[-1])) + 1, len(energy))
