"""DMD with the steady part built in."""

from dataclasses import dataclass
from typing import ClassVar

from ray_glocal.koopman.dmd import Form
from ray_glocal.koopman.forecasters.decomposition import DampedFit


@dataclass(frozen=True)
class Affine(DampedFit):
    """Answer the prediction of a DMD with a constant observable.

    Where no direction rises above noise, the mean of the window is left: the forecast cannot decay to zero.

    Args:
        rank: As for `fit_dmd`.
        delays: Snapshots in a delay vector, lowered where the window is short; None chooses them by the window.

    Raises:
        ArgumentError: `rank` or `delays` out of range.
    """

    form: ClassVar[Form] = "affine"
