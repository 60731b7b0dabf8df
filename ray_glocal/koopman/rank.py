"""Rank selection: how many directions of the snapshots carry signal.

Whoever adds a rule writes one frozen dataclass with a `choose` method; anything that has it is a `Rank`.
"""

from dataclasses import dataclass
from numbers import Integral
from typing import Protocol

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array

# Rounding in the entries of a matrix moves its singular values by a few units in the last place of the largest.
_ROUNDING = 10 * float(np.finfo(np.float64).eps)


class Rank(Protocol):
    """A rule that chooses how many singular directions to keep."""

    def choose(self, singular_values: Array, shape: tuple[int, int]) -> int:
        """Answer how many of `singular_values` (descending) of a matrix of `shape` to keep; may be zero."""
        ...


@dataclass(frozen=True)
class FixedRank:
    """Keep a given number of directions, or all where there are fewer.

    Args:
        size: Directions to keep, at least 1.

    Raises:
        ArgumentError: `size` below 1, or not whole.
    """

    size: int

    def __post_init__(self) -> None:
        if not isinstance(self.size, Integral) or self.size < 1:
            raise ArgumentError(
                "size", "be a whole number of at least 1", self.size, "Use `OptimalRank()` to let the data choose."
            )

    def choose(self, singular_values: Array, shape: tuple[int, int]) -> int:
        """Answer `size`, at most as many as there are."""
        return min(self.size, len(singular_values))


@dataclass(frozen=True)
class OptimalRank:
    """Gavish-Donoho optimal hard threshold for noise of unknown size.

    Keeps singular values above omega(beta) times their median, beta = short side / long side, with the authors' cubic
    omega = 0.56 beta^3 - 0.95 beta^2 + 1.82 beta + 1.43, within 0.02 of the exact ratio of the optimal threshold to
    the Marchenko-Pastur median. Assumes that fewer than half of the directions are signal: with a handful of columns
    stack delays first. Gavish & Donoho 2014 (arXiv:1305.5870), section III.E and equation 5.
    """

    def choose(self, singular_values: Array, shape: tuple[int, int]) -> int:
        """Answer how many singular values exceed the threshold; zero where all of them look like noise."""
        beta = min(shape) / max(shape)
        omega = ((0.56 * beta - 0.95) * beta + 1.82) * beta + 1.43
        count = len(singular_values)
        # Descending order makes the median two look-ups, ten times cheaper than np.median.
        median = 0.5 * (singular_values[(count - 1) // 2] + singular_values[count // 2])
        return int(np.count_nonzero(singular_values > omega * median))


@dataclass(frozen=True)
class FullRank:
    """Keep every direction above rounding error: right for noise-free data."""

    def choose(self, singular_values: Array, shape: tuple[int, int]) -> int:
        """Answer how many there are; `chosen_rank` removes those that are rounding error."""
        return len(singular_values)


def chosen_rank(rule: Rank, singular_values: Array, shape: tuple[int, int]) -> int:
    """Apply a rule, but never keep a direction that is only rounding error.

    Args:
        rule: The rule.
        singular_values: Descending, shape [direction].
        shape: Shape of the matrix they belong to.

    Returns:
        Directions to keep, 0 to the numerical rank.
    """
    numerical = int(np.count_nonzero(singular_values > _ROUNDING * max(shape) * singular_values[0]))
    return min(rule.choose(singular_values, shape), numerical)


def as_rank(rank: Rank | int | None) -> Rank:
    """Read the short forms of a rank: a number is a `FixedRank`, None is the `FullRank`.

    Raises:
        ArgumentError: A number below 1, or neither a number nor a rule.
    """
    if rank is None:
        return FullRank()
    if isinstance(rank, int | Integral):
        return FixedRank(int(rank))
    if not hasattr(rank, "choose"):
        remedy = "Use `OptimalRank()` to let the data choose."
        raise ArgumentError("rank", "be a whole number, None or a rule with a `choose` method", rank, remedy)
    return rank
