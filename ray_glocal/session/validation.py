"""Validation batches: a full pass for a report, a few at a time for a hypergradient."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.state.batch import tensors
from ray_glocal.session.overlap import shared
from ray_glocal.session.state.generators import undisturbed


class ValidationBatches:
    """Batches of the outer problem, drawn without disturbing the random generators of the training loop.

    Args:
        batches: A re-iterable of batches.
        per_hypergradient: Batches that a hypergradient averages over, at most.

    Raises:
        ArgumentError: There is no batch, or the iterable can be used only once.
    """

    def __init__(self, batches: Iterable[Any], per_hypergradient: int) -> None:
        remedy = "Pass a DataLoader or a list of batches that the training does not use."
        if not isinstance(batches, Iterable):
            raise ArgumentError("val_batches", "be an iterable of validation batches", batches, remedy)
        if isinstance(batches, Iterator):  # `iter` would tell, too, but a loader's draws a seed
            rule = "be iterable more than once, and an iterator is not"
            raise ArgumentError("val_batches", rule, type(batches).__name__, remedy)
        self._batches = batches
        with undisturbed(batches):
            self.count = sum(1 for _ in batches)
        if not self.count:
            raise ArgumentError("val_batches", "hold at least one batch", batches, remedy)
        self.per_hypergradient = min(per_hypergradient, self.count)
        self.size = 1.0  # of a batch, in training batches
        self.cursor = 0

    def compare(self, few: Sequence[Any], parts: Sequence[Any]) -> None:
        """Learn how large a batch is beside one of training, which says what passes over them cost.

        Args:
            few: Some of these batches.
            parts: Micro-batches of an inner step. Where no tensors tell, batches are taken for equally large.
        """
        own, theirs = _examples(few) / len(few), _examples(parts)
        self.size = own / theirs if own and theirs else 1.0

    @property
    def whole_size(self) -> float:
        """Of all batches, in training batches."""
        return self.count * self.size

    @property
    def few_size(self) -> float:
        """Of those of a hypergradient, in training batches."""
        return self.per_hypergradient * self.size

    def as_plain(self) -> dict[str, float]:
        """What a resumed run must know."""
        return {"size": self.size, "cursor": self.cursor}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        self.size, self.cursor = plain["size"], plain["cursor"]

    def reads(self, loader: Any) -> bool:
        """Whether it takes the data that a training loader takes."""
        return shared(loader, self._batches)

    def mean(self, loss: Callable[[Iterable[Any]], float]) -> float:
        """What a function makes of all batches, which it takes one at a time; its random draws are undone as well."""
        with undisturbed(self._batches):
            return loss(self._batches)

    def next_few(self) -> list[Any]:
        """The batches of the next hypergradient; over time all batches take their turn."""
        start, self.cursor = self.cursor, (self.cursor + self.per_hypergradient) % self.count
        return self.few(start)

    def few(self, start: int) -> list[Any]:
        """As many, from a place on; of a loader that shuffles any others."""
        end = start + self.per_hypergradient
        if end <= self.count:
            return self._take(start, end)
        return self._take(start, None) + self._take(0, end - self.count)

    def _take(self, start: int, end: int | None) -> list[Any]:
        if isinstance(self._batches, list | tuple):  # which draw nothing
            return list(self._batches[start:end])
        with undisturbed(self._batches):
            return list(islice(self._batches, start, end))


def _examples(batches: Sequence[Any]) -> int:
    """How many examples there are in some batches, of each the length of its first tensor; 0 without tensors."""
    return sum(next((len(tensor) for tensor in tensors(batch) if tensor.dim()), 0) for batch in batches)
