"""Every name of Ray's that is not public and that the simulator stands on, each with the reason.

`tests/simulate/test_compat.py` pins each fact on the installed Ray: a Ray that changes one fails there first, by name.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, MutableSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.air.execution._internal.tracked_actor import TrackedActor  # what the controller knows actors by
from ray.exceptions import RayActorError  # public, but a failed actor is told of by this class alone
from ray.exceptions import RayTaskError as _RayTaskError
from ray.train._internal.session import _FutureTrainingResult  # what schedulers that clone wait for
from ray.train._internal.storage import StorageContext  # where an experiment's files go
from ray.tune.execution.tune_controller import TuneController  # DeveloperAPI: the loop that runs an experiment
from ray.tune.experiment import Experiment, Trial


class RayTaskError(_RayTaskError):  # type: ignore[misc]  # Ray ships no types
    """An exception inside a trainable, as Ray would hand it to the controller."""

    @classmethod
    def of(cls, method: str, cause: Exception) -> RayTaskError:
        """The error that stands for `cause`."""
        return cls(method, f"{type(cause).__name__}: {cause}", cause)


class Ready(_FutureTrainingResult):  # type: ignore[misc]
    """What a call returned, in the place of Ray's reference to it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, block: bool = True) -> Any:
        """The value, at once."""
        return self.value


class Storage(StorageContext):  # type: ignore[misc]
    """The experiment's files, staged beside the storage and not in the folder of a session of Ray's."""

    def _get_session_path(self) -> str:
        return Path(self.storage_fs_path, "session", self.experiment_dir_name).as_posix()


class VirtualExperiment(Experiment):  # type: ignore[misc]
    """An experiment without a session of Ray's."""

    _storage_context_cls = Storage


class Classes:
    """In the place of the controller's cache of remote classes: a class is its own."""

    def get(self, trainable: type) -> type:
        """The class itself."""
        return trainable


class NoResources:
    """In the place of the controller's watch over Ray's resources, for there is no cluster to ask."""

    def update_avail_resources(self, *_: Any, **__: Any) -> None:
        """Nothing to update."""

    def debug_string(self, *_: Any) -> str:
        """Nothing to tell."""
        return ""


class InOrder(MutableSet[Any]):
    """A set in the order of its filling: the controller takes trials out of sets, whose own order is by chance."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, value: Any) -> None:
        """Put it last, unless it is there."""
        self._items[value] = None

    def discard(self, value: Any) -> None:
        """Take it out, if it is there."""
        self._items.pop(value, None)


class VirtualController(TuneController):  # type: ignore[misc]  # Ray ships no types
    """Tune's own controller on virtual actors.

    Args:
        actors: In the place of Ray's actors.
        options: Of `TuneController`.
    """

    def __init__(self, actors: Any, **options: Any) -> None:
        super().__init__(resource_manager_factory=object, checkpoint_period=float("inf"), **options)
        self._actor_manager, self._class_cache, self._resource_updater = actors, Classes(), NoResources()
        self._resources_to_pending_trials: dict[Any, InOrder] = defaultdict(InOrder)
        self._staged_trials = InOrder()

    def _schedule_trial_save(self, trial: Trial, result: dict[str, Any] | None = None) -> Any:
        told = super()._schedule_trial_save(trial, result)
        if told is not None:  # schedulers that clone trials wait for the checkpoint: it is here already
            trial.temporary_state.saving_to = told.future
            return told.future
        return told


@contextmanager
def driver_alone(waiting: int | None) -> Iterator[None]:
    """Let Tune run in this process without a cluster, and leave the process as it was.

    Args:
        waiting: Trials that may wait for a worker, where the controller would start Ray to count its processors.
    """
    told = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_ORIG_WORKING_DIR": os.getcwd(), "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}
    if waiting is not None:
        told["TUNE_MAX_PENDING_TRIALS_PG"] = str(waiting)
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("ray.tune", "ray.train")}
    for logger in loggers:
        logger.setLevel(logging.WARNING)  # a line for each of ten thousand checkpoints
    try:
        yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


__all__ = [
    "RayActorError",
    "RayTaskError",
    "Ready",
    "TrackedActor",
    "VirtualController",
    "VirtualExperiment",
    "driver_alone",
]
