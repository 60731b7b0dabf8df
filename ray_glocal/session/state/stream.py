"""The position of a session in its training data, so that a resumed run sees the batches an undisturbed one saw."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.session.state.generators import own_generators

_REMEDY = "Pass a DataLoader, a list, or another iterable that starts anew each time."


class Stream:
    """Batches of a re-iterable loader, epoch after epoch.

    A resumed stream puts the random generators to where they stood when the epoch began, so that a shuffling loader
    shuffles alike, passes over the batches that were already used, and puts the generators back. It knows the global
    generators and each `torch.Generator` that is called `generator` in the loader, its samplers or its data set.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.position = 0  # batches already taken from the present epoch
        self._start: Randomness | None = None  # global generators when the epoch began
        self._own_start: list[Tensor] = []  # the loader's own then
        self._own_saved: list[Tensor] | None = None  # the loader's own when a checkpoint was written
        self._generators: list[torch.Generator] = []

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Endless batches from where the stream stands.

        Raises:
            ArgumentError: See `epoch_of`.
        """
        while True:
            yield from self.epoch_of(loader)

    def epoch_of(self, loader: Iterable[Any]) -> Iterator[Any]:
        """What is left of the epoch in which the stream stands; a whole one where it stands between two.

        Raises:
            ArgumentError: The loader is no iterable, yields nothing, can be iterated only once, or owns other
                generators than the one that a checkpoint was written with.
        """
        if isinstance(loader, Iterator):
            rule = "be iterable anew for every epoch, and an iterator is not"
            raise ArgumentError("loader", rule, type(loader).__name__, _REMEDY)
        if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
            rule = "be an iterable of batches"
            raise ArgumentError("loader", rule, loader, "Call it first." if callable(loader) else _REMEDY)
        self._generators = own_generators(loader)
        rest = self._rest_of_epoch(loader) if self.position else self._epoch(loader)
        for batch in rest:
            self.position += 1
            yield batch
        if self.position == 0:
            raise ArgumentError("loader", "yield at least one batch in every epoch", loader, _REMEDY)
        self.epoch += 1
        self.position = 0

    def _epoch(self, loader: Iterable[Any]) -> Iterator[Any]:
        """A whole epoch; how it began is remembered."""
        self._start, self._own_start, self._own_saved = Randomness.capture(), self._own_states(), None
        return iter(loader)

    def _rest_of_epoch(self, loader: Iterable[Any]) -> Iterator[Any]:
        """What is left of an epoch that began elsewhere."""
        own = self._own_states() if self._own_saved is None else self._own_saved
        if not len(own) == len(self._own_start) == len(self._generators):
            rule = f"own as many generators as the one that was saved, {len(self._own_start)}"
            raise ArgumentError("loader", rule, len(self._generators), "Build it as in the run that is resumed.")
        present = Randomness.capture()
        assert self._start is not None
        self._start.restore()
        self._set_own(self._own_start)
        batches = iter(loader)
        for _ in islice(batches, self.position):
            pass
        present.restore()
        self._set_own(own)
        return batches

    def _own_states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self._generators]

    def _set_own(self, states: list[Tensor]) -> None:
        for generator, state in zip(self._generators, states, strict=True):
            generator.set_state(state)

    def as_plain(self) -> dict[str, Any]:
        """The position, as plain data."""
        return {
            "epoch": self.epoch,
            "position": self.position,
            "start": None if self._start is None else self._start.as_plain(),
            "own_start": self._own_start,
            "own": self._own_states() if self._own_saved is None else self._own_saved,
        }

    def load_plain(self, plain: dict[str, Any]) -> None:
        """Continue from a position that `as_plain` gave."""
        self.epoch, self.position = plain["epoch"], plain["position"]
        self._start = None if plain["start"] is None else Randomness.from_plain(plain["start"])
        self._own_start, self._own_saved = plain["own_start"], plain["own"]
