"""DMD on differences: no steady part needs to be found."""

from dataclasses import dataclass
from typing import ClassVar

from ray_glocal.koopman.dmd import Form
from ray_glocal.koopman.forecasters.decomposition import DampedFit


@dataclass(frozen=True)
class Increment(DampedFit):
    """Answer the last snapshot plus the sum of the increments that a DMD on differences predicts.

    The last snapshot's own noise passes into the forecast unsmoothed; on smooth windows this is the sharpest form.

    Args:
        rank: As for `fit_dmd`.
        delays: Snapshots in a delay vector, lowered where the window is short; None chooses them by the window.

    Raises:
        ArgumentError: `rank` or `delays` out of range.
    """

    form: ClassVar[Form] = "increment"
