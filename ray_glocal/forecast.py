"""What a forecaster answers: a mean, a deviation, a horizon, and a sentence on how far to trust them."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Kind(str, Enum):
    """How a numerical routine ended, for code to branch on."""

    OK = "ok"
    WEAK = "weak"  # usable, but the data say little
    CONSTANT = "constant"  # usable: nothing moves, so there is no spectrum to fit
    SHORT = "short"  # too few snapshots
    NONFINITE = "nonfinite"  # NaN or infinity in the data
    HUGE = "huge"  # so large that the arithmetic would overflow
    UNDETERMINED = "undetermined"  # the data do not determine an answer


USABLE = frozenset({Kind.OK, Kind.WEAK, Kind.CONSTANT})


@dataclass(frozen=True)
class Outcome:
    """The end of a numerical routine: a kind for code, a sentence for the user.

    Numerical trouble is a value here, never an exception: the sentence reaches the trace and the report.
    """

    kind: Kind
    sentence: str

    @property
    def usable(self) -> bool:
        """Whether the numbers beside this outcome mean anything."""
        return self.kind in USABLE


@dataclass(frozen=True)
class Forecast:
    """Prediction of a vector series a number of steps ahead of its last snapshot.

    Args:
        mean: Expected value, shape [channel].
        deviation: Standard deviation of the prediction error, shape [channel], in the units of `mean`.
        horizon: Steps ahead of the last snapshot; `math.inf` for the limit.
        outcome: How far to trust the numbers. Where it is not usable, both arrays are NaN throughout.
    """

    mean: Array
    deviation: Array
    horizon: float
    outcome: Outcome

    @classmethod
    def refused(cls, channels: int, horizon: float, kind: Kind, sentence: str) -> "Forecast":
        """A forecast that was not made, with the sentence that says why."""
        nothing = np.full(channels, np.nan)
        return cls(nothing, nothing.copy(), horizon, Outcome(kind, sentence))


class Forecaster(Protocol):
    """Anything that predicts the end of a series from its beginning."""

    def forecast(self, series: Array, horizon: float) -> Forecast:
        """Predict `series` [time, channel], oldest snapshot first, `horizon` steps ahead of its last one."""
        ...
