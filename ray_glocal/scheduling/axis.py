"""A continuous hyperparameter as the searcher sees it: how to draw a start value, how to vary one that learned.

Variations move in the coordinates in which the hyperparameter is adapted (log, logit between the bounds, or plain), so
that one step means the same everywhere in the range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from ray_glocal.scheduling.tuning import MARGIN


@dataclass(frozen=True)
class Axis:
    """One continuous hyperparameter.

    Args:
        name: Its name in the space, levels joined by "/".
        scale: Coordinates in which it is adapted.
        lower: Least value; -inf for "identity".
        upper: Greatest value; inf for "identity".
        mean: Centre of the start values, for "identity" only.
        deviation: Spread of the start values, for "identity" only.
    """

    name: str
    scale: Literal["log", "logit", "identity"]
    lower: float
    upper: float
    mean: float = 0.0
    deviation: float = 1.0

    def draw(self, quantile: float) -> float:
        """The value at `quantile` (0 to 1, both excluded) of the domain from which start values are drawn."""
        if self.scale == "identity":
            return NormalDist(self.mean, self.deviation).inv_cdf(quantile)
        if self.scale == "log":
            return self._inside(math.exp(_between(math.log(self.lower), math.log(self.upper), quantile)))
        return self._inside(_between(self.lower, self.upper, quantile))

    def vary(self, value: float, amount: float) -> float:
        """`value` moved by `amount` in coordinates, reflected at the bounds: clipping would propose a bound twice."""
        if self.scale == "identity":
            return value + amount * self.deviation
        if self.scale == "log":
            lower, upper = math.log(self.lower), math.log(self.upper)
            return self._inside(math.exp(_reflected(math.log(self._inside(value)) + amount, lower, upper)))
        share = (value - self.lower) / (self.upper - self.lower)
        coordinate = _logit(min(max(share, MARGIN), 1 - MARGIN))
        moved = _reflected(coordinate + amount, _logit(MARGIN), _logit(1 - MARGIN))
        return _between(self.lower, self.upper, 1 / (1 + math.exp(-moved)))

    def _inside(self, value: float) -> float:
        """`value` against the rounding of exp and log at the bounds."""
        return min(max(value, self.lower), self.upper)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


def _reflected(value: float, lower: float, upper: float) -> float:
    """`value` folded into the bounds as if both were mirrors."""
    offset = (value - lower) % (2 * (upper - lower))
    return lower + min(offset, 2 * (upper - lower) - offset)


def _between(lower: float, upper: float, share: float) -> float:
    return lower + (upper - lower) * share
