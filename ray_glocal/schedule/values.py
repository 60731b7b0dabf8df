"""The values of one hyperparameter over a training: constant between the steps at which it changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ray_glocal.errors import ArgumentError
from ray_glocal.names import entry_labels
from ray_glocal.options import GEOMETRIC

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LearnedValues:
    """One hyperparameter: `schedule["lr"](step)` is its value at the step that follows `step` others.

    Args:
        name: As the session knew it.
        option: Option of the optimizer that it sets where the optimizer has it, else losses read it; None where losses
            certainly do.
        groups: Indices of the parameter groups whose option it sets; None for all.
        ratios: How many times its value the option of each of these groups is; None where that is for the optimizer at
            hand to say.
        start: What the session was given; the search for a learning rate may have begun elsewhere.
        steps: Steps at which it changed, the first of them 0, shape [n], rising.
        values: From there on, shape [n, *shape of the hyperparameter].
    """

    name: str
    option: str | None
    groups: tuple[int, ...] | None
    ratios: tuple[float, ...] | None
    start: Array
    steps: Steps
    values: Array

    @classmethod
    def of(
        cls,
        name: str,
        start: Array,
        steps: Sequence[int],
        values: Sequence[Array],
        *,
        option: str | None,
        groups: tuple[int, ...] | None = None,
        ratios: tuple[float, ...] | None = None,
    ) -> LearnedValues:
        """From values at some rising steps, of which those that change nothing are left out."""
        kept: list[int] = []
        for place, value in enumerate(values):
            if not kept or not np.array_equal(value, values[kept[-1]]):
                kept.append(place)
        each = np.array([values[place] for place in kept], dtype=np.float64)
        return cls(name, option, groups, ratios, start, np.array([steps[p] for p in kept], dtype=np.int64), each)

    def __call__(self, step: int) -> float | Array:
        """The value at the step that follows `step` others; of several entries an array."""
        value: Array = self.at(step)
        return float(value) if value.ndim == 0 else value

    def at(self, step: int) -> Array:
        """The same as an array of the hyperparameter's shape."""
        value: Array = self.values[self._holding(step)]
        return value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LearnedValues):
            return NotImplemented
        same = (self.name, self.option, self.groups, self.ratios) == (
            other.name,
            other.option,
            other.groups,
            other.ratios,
        )
        arrays = zip((self.start, self.steps, self.values), (other.start, other.steps, other.values), strict=True)
        return same and all(np.array_equal(mine, theirs) for mine, theirs in arrays)

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def moved(self, steps: Sequence[int]) -> LearnedValues:
        """The same values from other steps on; of several from one step on the last."""
        last = {step: place for place, step in enumerate(steps)}
        return self._with(list(last), [self.values[place] for place in last.values()])

    def smoothed(self, width: int, total: int) -> LearnedValues:
        """Means over `width` steps around each of `total`; geometric ones of options that are compared by factors."""
        geometric = self.option in GEOMETRIC and bool(np.all(self.values > 0))
        each = np.log(self.values) if geometric else self.values
        place = np.arange(total)
        low, high = np.maximum(0, place - (width - 1) // 2), np.minimum(total, place + width // 2 + 1)
        first, last = self._holding(low), self._holding(high - 1)
        smooth = [self.values[change] for change in first]
        mixed = np.flatnonzero(first != last)  # elsewhere there is one value, which rounding would make another
        low, high = low[mixed], high[mixed]
        means = (self._summed(each, high) - self._summed(each, low)) / _beside(high - low, each)
        for step, mean in zip(mixed, np.exp(means) if geometric else means, strict=True):
            smooth[step] = mean
        return self._with(list(range(total)), smooth)

    def _summed(self, each: Array, ends: Steps) -> Array:
        """Sums over the steps before some others of what holds from each change on, shape [ends, *shape]."""
        whole = np.cumsum(each[:-1] * _beside(np.diff(self.steps), each), axis=0)
        before, holding = np.concatenate([np.zeros_like(each[:1]), whole]), self._holding(ends)
        sums: Array = before[holding] + each[holding] * _beside(ends - self.steps[holding], each)
        return sums

    def _holding(self, steps: Steps | int) -> Any:
        """The place of the change that holds at each step."""
        return np.maximum(np.searchsorted(self.steps, steps, side="right") - 1, 0)

    def _with(self, steps: Sequence[int], values: Sequence[Array]) -> LearnedValues:
        ties = {"option": self.option, "groups": self.groups, "ratios": self.ratios}
        return LearnedValues.of(self.name, self.start, steps, values, **ties)  # type: ignore[arg-type]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each entry."""
        return entry_labels(self.name, self.start.size)


def _beside(column: Steps, each: Array) -> Steps:
    """A number for each of some arrays, to be multiplied with them."""
    return column.reshape(-1, *([1] * (each.ndim - 1)))


def checked(values: LearnedValues, steps: int) -> LearnedValues:
    """Values that came from a file.

    Raises:
        ArgumentError: They do not begin at step 0, do not rise, go beyond the end, or are no numbers.
    """
    changes, remedy = values.steps, "Correct the file, or write the schedule anew."
    rising = len(changes) > 0 and changes[0] == 0 and bool(np.all(np.diff(changes) > 0)) and changes[-1] < max(steps, 1)
    if not rising:
        rule = f"have changes of {values.name!r} at rising steps from 0 to below {steps}"
        raise ArgumentError("schedule", rule, changes.tolist(), remedy)
    fits = values.values.shape == (len(changes), *values.start.shape)
    if not fits or not all(map(math.isfinite, values.values.flatten())):
        rule = f"have a number for each entry of {values.name!r} at each of its changes"
        raise ArgumentError("schedule", rule, values.values.tolist(), remedy)
    return values
