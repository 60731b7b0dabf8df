"""The discrete half of a search space, and the whole of it without Ray's types."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from ray_glocal.scheduling.axis import Axis
from ray_glocal.scheduling.tuning import CORRELATION_LENGTH, JOINT_CORRELATION

Array = NDArray[np.float64]
Levels = NDArray[np.int64]  # [configuration, factor]: index of each factor's value


@dataclass(frozen=True)
class Factor:
    """A discrete hyperparameter.

    Args:
        name: Its name in the space, levels joined by "/".
        levels: Number of values, at least 1.
        decisive: Whether continuous values mean something else under another value of this factor, as a learning
            rate does under another optimizer; then they are handed down only where it is equal.
        places: Where each value lies between the least, 0, and the greatest, 1; None where values have no order.
        logs: Logarithm of each value; None where values have no order or are not all positive.
    """

    name: str
    levels: int
    decisive: bool = False
    places: tuple[float, ...] | None = None
    logs: tuple[float, ...] | None = None

    @cached_property
    def distances(self) -> Array:
        """Distance between any two values: 1 for categories, at most 1 in an order."""
        if self.places is None:
            return 1.0 - np.eye(self.levels)
        places = np.array(self.places)
        return np.asarray(np.abs(places[:, None] - places))

    def neighbours(self, level: int) -> list[tuple[int, float]]:
        """The next value below and the next above, each with its distance in e-folds, signed."""
        steps = [] if self.logs is None else [(other, log - self.logs[level]) for other, log in enumerate(self.logs)]
        below = [step for step in steps if step[1] < 0]
        above = [step for step in steps if step[1] > 0]
        return [min(side, key=lambda step: abs(step[1])) for side in (below, above) if side]

    @cached_property
    def correlations(self) -> Array:
        """How the effects of any two values are correlated before anything is known: Matern 3/2 along an order."""
        if self.places is None:
            return np.eye(self.levels)
        steps = np.sqrt(3) * self.distances / CORRELATION_LENGTH
        return np.asarray((1 + steps) * np.exp(-steps))

    @cached_property
    def joint_correlations(self) -> Array:
        """The same for joint effects: all positive, so that other configurations say something about each."""
        if self.places is None:
            return (1 - JOINT_CORRELATION) * self.correlations + JOINT_CORRELATION
        return self.correlations


@dataclass(frozen=True)
class Space:
    """The two halves of a search space, without their Ray types."""

    factors: tuple[Factor, ...]
    axes: tuple[Axis, ...]

    @property
    def configurations(self) -> int:
        """Number of discrete configurations."""
        return prod(self.sizes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""
        return tuple(factor.levels for factor in self.factors)

    @cached_property
    def offsets(self) -> Levels:
        """Column of each factor's first value among the indicators of all values."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    def indicators(self, levels: Levels) -> Array:
        """Ones at the values that configurations hold, [configuration, value of any factor]."""
        ones = np.zeros((len(levels), sum(self.sizes)))
        ones[np.arange(len(levels))[:, None], levels + self.offsets] = 1.0
        return ones
