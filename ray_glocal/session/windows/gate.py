"""The gate: may this forecast move a hyperparameter? Act, act small, or hold, each with its sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Array
from ray_glocal.session.answer import Gate
from ray_glocal.session.settings import Settings
from ray_glocal.session.vectors import agreements, magnitudes


class Cause(Enum):
    """Why it says so; the value is the sentence, and the answer that it leads to."""

    CLEAR = ("elasticity {0:+.2g} at {1:.2g} deviations", Gate.ACT)
    FAINT = ("elasticity {0:+.2g} at only {1:.2g} deviations", Gate.ACT_SMALL)
    NOISE = ("elasticity {0:+.2g} drowns in noise ({1:.2g} deviations)", Gate.HOLD)
    DEAD_BAND = ("elasticity {0:+.2g} lies in the dead band", Gate.HOLD)
    CONTRADICTED = ("elasticity {0:+.2g} contradicts the local hypergradient", Gate.HOLD)
    PATIENCE = ("elasticity {0:+.2g}, but a cut can wait while the loss does not rise", Gate.HOLD)
    HEAT = ("elasticity {0:+.2g}, but beneath a schedule that anneals a rate follows its heat", Gate.HOLD)
    SEARCH = ("waits until the learning rate's order of magnitude is found", Gate.HOLD)
    UNKNOWN = ("no usable forecast", Gate.HOLD)


CAUSES = tuple(Cause)


@dataclass(frozen=True)
class Verdicts:
    """The gate's answers; every array has shape [q].

    Args:
        cause: Index into `CAUSES`.
        share: Part of the trust region that is granted: all of it where it acts, the shrinkage snr^2 / (1 + snr^2)
            where it acts small, none where it holds.
        elasticity: What was judged; for the entries of a vector, its magnitude.
        ratio: Its signal-to-noise ratio.
    """

    cause: NDArray[np.intp]
    share: Array
    elasticity: Array
    ratio: Array

    def answer(self, index: int) -> Gate:
        """The answer for one entry."""
        answer: Gate = CAUSES[self.cause[index]].value[1]
        return answer

    def reason(self, index: int) -> str:
        """Its sentence."""
        sentence: str = CAUSES[self.cause[index]].value[0]
        return sentence.format(self.elasticity[index], self.ratio[index])

    def overrule(self, where: NDArray[np.bool_], cause: Cause) -> "Verdicts":
        """The same verdicts, but hold all of `where` for a cause of its own."""
        causes = np.where(where, CAUSES.index(cause), self.cause)
        return Verdicts(causes, np.where(where, 0.0, self.share), self.elasticity, self.ratio)

    def hold(self, where: NDArray[np.bool_], cause: Cause) -> "Verdicts":
        """The same verdicts, but hold what would have moved among `where`."""
        return self.overrule(where & (self.share > 0), cause)


def judge(
    elasticity: Array,
    deviation: Array,
    local: Array,
    settings: Settings,
    band: Array | None = None,
    vectors: Sequence[slice] = (),
) -> Verdicts:
    """Judge each forecast by its signal-to-noise ratio, its size, and its agreement with the plain local value.

    A vector is judged as one, by magnitudes and by the angle to its local value: each of its entries may drown in
    noise where all of them together know the way.

    Args:
        elasticity: Relative change of the final loss per unit of each coordinate, shape [q]; NaN where unknown.
        deviation: Its standard deviation, shape [q].
        local: The window's last local hypergradient, another estimator of the same sign, shape [q].
        settings: Thresholds.
        band: Size of the elasticity below which each entry holds, shape [q]; the settings' for all by default.
        vectors: Entries of each hyperparameter that has more than one.
    """
    magnitude, noise = magnitudes(elasticity, vectors), magnitudes(deviation, vectors)
    known = np.isfinite(magnitude) & np.isfinite(noise)
    size = np.where(known, magnitude, 0.0)
    floor = np.maximum(1e-12 * size, np.finfo(float).tiny)
    ratio = size / np.maximum(np.where(known, noise, 1.0), floor)
    conditions = (
        (~known, Cause.UNKNOWN),
        (size < (settings.dead_band if band is None else band), Cause.DEAD_BAND),
        (agreements(elasticity, local, vectors) < 0, Cause.CONTRADICTED),
        (ratio >= settings.act, Cause.CLEAR),
        (ratio >= settings.act_small, Cause.FAINT),
    )
    codes = [CAUSES.index(cause) for _, cause in conditions]
    cause = np.select([where for where, _ in conditions], codes, CAUSES.index(Cause.NOISE))
    sizes = elasticity.copy()
    for vector in vectors:
        sizes[vector] = magnitude[vector]
    shrinkage = ratio**2 / (1 + ratio**2)
    share = np.select([cause == CAUSES.index(Cause.CLEAR), cause == CAUSES.index(Cause.FAINT)], [1.0, shrinkage], 0.0)
    return Verdicts(cause, share, sizes, ratio)
