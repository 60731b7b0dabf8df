"""Validation batches: a full pass for a report, a few at a time for a window."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Randomness


class Validation:
    """Batches of the outer problem, drawn without disturbing the random generators of the training loop.

    Args:
        batches: A re-iterable of batches.
        per_window: Batches that a window averages over, at most.

    Raises:
        ArgumentError: There is no batch, or the iterable can be used only once.
    """

    def __init__(self, batches: Iterable[Any], per_window: int) -> None:
        remedy = "Pass a DataLoader or a list of batches that the training does not use."
        if batches is None or not hasattr(batches, "__iter__"):
            raise ArgumentError("val_batches", "be an iterable of validation batches", batches, remedy)
        if iter(batches) is batches:
            rule = "be iterable more than once, and an iterator is not"
            raise ArgumentError("val_batches", rule, type(batches).__name__, remedy)
        self._batches = batches
        self.count = sum(1 for _ in self.all())
        if not self.count:
            raise ArgumentError("val_batches", "hold at least one batch", batches, remedy)
        self._per_window = min(per_window, self.count)
        self.cursor = 0

    def all(self) -> list[Any]:
        """Every batch."""
        return self._take(0, None)

    def next_few(self) -> list[Any]:
        """The batches of the next window; over the windows all batches take their turn."""
        start = self.cursor
        end = start + self._per_window
        self.cursor = end % self.count
        if end <= self.count:
            return self._take(start, end)
        return self._take(start, None) + self._take(0, end - self.count)

    def _take(self, start: int, end: int | None) -> list[Any]:
        randomness = Randomness.capture()
        taken = list(islice(iter(self._batches), start, end))
        randomness.restore()
        return taken
