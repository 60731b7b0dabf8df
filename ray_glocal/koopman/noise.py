"""Noise that remembers: white, autoregressive, or a random walk, by one number."""

import math
from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.koopman.tuning import WALK_START


@dataclass(frozen=True)
class Noise:
    """Noise whose every value is `memory` times the one before, plus an independent innovation.

    Args:
        memory: 0 is white noise, 1 a random walk.

    Raises:
        ArgumentError: `memory` is not between 0 and 1.
    """

    memory: float

    def __post_init__(self) -> None:
        if not 0 <= self.memory <= 1:
            raise ArgumentError("memory", "be between 0 and 1", self.memory, "1 is a random walk.")

    @property
    def first(self) -> float:
        """Factor that gives the first value the variance of an innovation."""
        return math.sqrt(1 - self.memory**2) if self.memory < 1 else 1 / WALK_START

    def whiten(self, values: Array) -> Array:
        """Innovations of columns [..., time, column]; of this noise they are independent and of one variance."""
        innovations: Array = values.copy()
        innovations[..., 1:, :] -= self.memory * values[..., :-1, :]
        innovations[..., 0, :] *= self.first
        return innovations

    def kept(self, horizon: float) -> float:
        """Share of the last value that is expected `horizon` steps ahead."""
        return 1.0 if horizon == 0 else float(self.memory**horizon)
