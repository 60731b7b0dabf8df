"""What a session adapts, and where it comes from."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
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

    Args:
        hyperparameters: What is adapted.
        ancestor: Checkpoint of the trial whose weights a fresh session starts from, where their shapes fit.
        package: What `GlocalSession.checkpoint` makes of a folder; `ray.tune.Checkpoint.from_directory` under Tune.
    """

    hyperparameters: tuple[Hyperparameter, ...]
    ancestor: CheckpointFolder | None = None
    package: Callable[[Path], Any] = Path
