"""Every name of Ray's that is not public and that the simulator stands on, each with the reason.

`tests/simulate/test_compat.py` pins each fact on the installed Ray: a Ray that changes one fails there first, by name.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, MutableSet
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from ray.air.execution._internal.tracked_actor import TrackedActor  # what the controller knows actors by
from ray.exceptions import RayActorError  # public, but a failed actor is told of by this class alone
from ray.exceptions import RayTaskError as _RayTaskError
from ray.train._internal import session as _process  # holds the one session of a function that a process has
from ray.train._internal.session import _FutureTrainingResult  # what schedulers that clone wait for
from ray.train._internal.storage import StorageContext  # where an experiment's files go
from ray.tune.execution.tune_controller import TuneController  # DeveloperAPI: the loop that runs an experiment
from ray.tune.experiment import Experiment, Trial
from ray.tune.result import RESULT_DUPLICATE as FUNCTION_ENDED  # in the place of a result: the function returned
from ray.tune.result import STDERR_FILE, STDOUT_FILE, TRIAL_INFO  # what Tune slips into a configuration
from ray.tune.utils import flatten_dict  # DeveloperAPI: by which Tune itself knows nested metrics, as `val/loss`

from ray_glocal.errors import ArgumentError

_SLIPPED_IN = {STDERR_FILE, STDOUT_FILE, TRIAL_INFO}
PATIENCE = 60.0  # true seconds that a function has to end in, where it writes or closes files


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


class Session:
    """The session of an actor's function, where it has one.

    Ray keeps it in a global of the actor's process, and `tune.report` looks there. Here all actors share a process, and
    each puts its own there while a method of its trainable runs. That is enough, for the function's thread runs only
    then: `train` lets it go on and waits until it reports, raises or returns, and between a report and its halt the
    thread looks at the global no more.
    """

    def __init__(self) -> None:
        self._own: Any = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let it be the session of the process."""
        others, _process._session = _process._session, self._own
        try:
            yield
        finally:
            self._own, _process._session = _process._session, others

    def end(self) -> None:
        """Let the function end where it halts: `tune.report` raises SystemExit, as where Ray reuses an actor.

        Raises:
            ArgumentError: It goes on all the same, and would report to the next actor's session.
        """
        with self.in_place():
            if self._own is None or not self._own.training_started:
                return
            self._own.report = _leave  # Ray's would wait for ever where a `finally` reports once more
            self._own.finish(PATIENCE)
            if self._own.training_thread.is_alive():
                rule = f"end within {PATIENCE:g} seconds when `tune.report` raises SystemExit"
                remedy = "Catch `Exception` around `tune.report`, and not everything."
                raise ArgumentError("trainable", rule, "one that goes on", remedy)
            del self._own.report


def _leave(*_: Any, **__: Any) -> NoReturn:
    sys.exit(0)


def configuration(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of the trial's configuration as the user knows it, for trainables may change theirs."""
    return copy.deepcopy({key: value for key, value in config.items() if key not in _SLIPPED_IN})


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
        saved = super()._schedule_trial_save(trial, result)
        if saved is not None:  # schedulers that clone trials wait for the checkpoint: it is here already
            trial.temporary_state.saving_to = saved.future
            return saved.future
        return saved

    def save_end(self) -> None:
        """Take the last snapshot, with the trials as they ended, as `tune.run` does."""
        self.checkpoint(force=True, wait=True)

    def await_copy(self) -> None:
        """Wait until the experiment's state is copied, which Tune does in a thread."""
        with suppress(Exception):  # Tune logs it and goes on
            self._storage.syncer.wait()


@contextmanager
def driver_alone(waiting: int | None) -> Iterator[None]:
    """Let Tune run in this process without a cluster, and leave the process as it was.

    Args:
        waiting: Trials that may wait for a worker, where the controller would start Ray to count its processors.
    """
    env = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "TUNE_ORIG_WORKING_DIR": os.getcwd(), "TUNE_PRINT_ALL_TRIAL_ERRORS": "0"}
    env["TUNE_DISABLE_RESOURCE_CHECKS"] = "1"  # a session would hang its checks on every remote call of the process
    env["TUNE_RESULT_BUFFER_LENGTH"] = "1"  # as `tune.run` sets it for schedulers that do without
    if waiting is not None:
        env["TUNE_MAX_PENDING_TRIALS_PG"] = str(waiting)
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
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
    "FUNCTION_ENDED",
    "RayActorError",
    "RayTaskError",
    "Ready",
    "Session",
    "TrackedActor",
    "VirtualController",
    "VirtualExperiment",
    "configuration",
    "driver_alone",
    "flatten_dict",
]
