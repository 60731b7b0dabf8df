"""What a session adapts, and where it comes from."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ray_glocal.hypergradient import Hyperparameter


class CheckpointFolder(Protocol):
    """A checkpoint that can be opened as a local folder, such as `ray.tune.Checkpoint`."""

    def as_directory(self) -> AbstractContextManager[str]:
        """The folder, for as long as the context lasts."""
        ...


@dataclass(frozen=True)
class Adapted:
    """The hyperparameters of a session and its tie to the outside.

    `adapted(config, space) + [Hyperparameter(...)]` adds what no Tune space can hold, tensors say. A trial's function
    and a `GlocalTrainable` may unpack it as well, `[*adapted(config, space), Hyperparameter(...)]`: their tie is known.

    Args:
        hyperparameters: What is adapted.
        ancestor: Checkpoint of the trial whose weights a fresh session starts from, and whose values of tensors, where
            their shapes fit.
        package: What `GlocalSession.checkpoint` makes of a folder; `ray.tune.Checkpoint.from_directory` under Tune.
    """

    hyperparameters: tuple[Hyperparameter, ...]
    ancestor: CheckpointFolder | None = None
    package: Callable[[Path], Any] = Path

    def __add__(self, more: Iterable[Hyperparameter]) -> "Adapted":
        """The same with further hyperparameters."""
        return replace(self, hyperparameters=(*self.hyperparameters, *more))

    def __iter__(self) -> Iterator[Hyperparameter]:
        """The hyperparameters."""
        return iter(self.hyperparameters)
