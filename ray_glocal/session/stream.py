"""The position of a session in its training data, so that a resumed run sees the batches an undisturbed one saw."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Randomness


class Stream:
    """Batches of a re-iterable loader, epoch after epoch.

    A resumed stream puts the random generators to where they stood when the epoch began, so that a shuffling loader
    shuffles alike, passes over the batches that were already used, and puts the generators back.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.position = 0  # batches already taken from the present epoch
        self._start: Randomness | None = None  # generators when the epoch began
        self._own: Tensor | None = None  # the loader's own generator then
        self._resume = False

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Endless batches from where the stream stands.

        Raises:
            ArgumentError: The loader yields nothing, or can be iterated only once.
        """
        while True:
            for batch in self._rest_of_epoch(loader):
                self.position += 1
                yield batch
            if self.position == 0:
                remedy = "Pass a DataLoader, a list, or another iterable that starts anew each time."
                raise ArgumentError("loader", "yield at least one batch in every epoch", loader, remedy)
            self.epoch += 1
            self.position = 0

    def _rest_of_epoch(self, loader: Iterable[Any]) -> Iterator[Any]:
        generator = getattr(loader, "generator", None)
        if not self._resume:
            self._start = Randomness.capture()
            self._own = None if generator is None else generator.get_state()
            return iter(loader)
        self._resume = False
        present = Randomness.capture()
        assert self._start is not None
        self._start.restore()
        if generator is not None and self._own is not None:
            generator.set_state(self._own)
        batches = iter(loader)
        for _ in range(self.position):
            next(batches, None)
        present.restore()
        return batches

    def as_plain(self) -> dict[str, Any]:
        """The position, as plain data."""
        start = None if self._start is None else self._start.as_plain()
        return {"epoch": self.epoch, "position": self.position, "start": start, "own": self._own}

    def load_plain(self, plain: dict[str, Any]) -> None:
        """Continue from a position that `as_plain` gave."""
        self.epoch, self.position, self._own = plain["epoch"], plain["position"], plain["own"]
        self._start = None if plain["start"] is None else Randomness.from_plain(plain["start"])
        self._resume = self._start is not None
