"""Every name of Ray that is not documented as public, each with the reason it is needed.

`tests/tune/test_compat.py` pins each fact on the installed Ray: a Ray that changes one fails there first, by name.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from pyarrow.fs import FileSystem
from ray.train._internal.session import get_session
from ray.train._internal.storage import StorageContext
from ray.tune import Checkpoint, PlacementGroupFactory
from ray.tune.execution.cluster_info import _is_ray_cluster
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory  # DeveloperAPI: what `with_resources` does
from ray.tune.experiment import Trial  # DeveloperAPI, but every scheduler's hooks receive one
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION  # the keys that Tune itself puts into results

# DeveloperAPI: the only way to tell the kinds of domains in a user's space apart.
from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, LogUniform, Normal, Uniform

# DeveloperAPI: resolves `sample_from` and its dependencies exactly as Tune does for its own searchers.
from ray.tune.search.variant_generator import assign_value, generate_variants
from ray.tune.utils import flatten_dict  # DeveloperAPI: what Tune flattens results by before schedulers see them

from ray_glocal.names import EXPERIMENT_STATE

SNAPSHOT = f"{EXPERIMENT_STATE}*.json"  # what Tune knows of an experiment's trials, in its folder
TUNER = "tuner.pkl"  # the `Tuner` that began the experiment
Bundles = tuple[Mapping[str, float], ...]

_HANDED = "glocal_ancestor"  # attribute of a trial's storage context: plain text, for workers without our code


def resolved(config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """`config` with every domain left in it drawn: "eval" strings and domains inside lists, then `sample_from`.

    `tune.run` evaluates functions last and hands them the configuration, in order of appearance; so do we.
    """
    functions = dict(_functions(config, ()))
    _, spec = next(generate_variants({"config": _without(config, functions, ())}, random_state=rng))
    drawn = dict(spec["config"])
    for path, function in functions.items():
        assign_value(drawn, path, function.sample(config=drawn, random_state=rng))
    return drawn


def _functions(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Function]]:
    if isinstance(node, Function):
        yield path, node
    for key, value in _entries(node):
        yield from _functions(value, (*path, key))


def _entries(node: object) -> Iterator[tuple[Any, Any]]:
    """What a mapping, a list or a tuple holds, each by its key or its place."""
    if isinstance(node, Mapping):
        yield from node.items()
    elif isinstance(node, list | tuple):
        yield from enumerate(node)


def _without(node: Any, paths: Container[tuple[Any, ...]], path: tuple[Any, ...]) -> Any:
    """A copy of nested dicts, lists and tuples with None at `paths`."""
    if path in paths:
        return None
    if isinstance(node, dict):
        return {key: _without(value, paths, (*path, key)) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(_without(value, paths, (*path, place)) for place, value in enumerate(node))
    return node


def checkpoints_kept(trial: Trial) -> int | None:
    """`CheckpointConfig.num_to_keep` of a trial. No public property leads there."""
    kept: int | None = trial.run_metadata.checkpoint_manager.checkpoint_config.num_to_keep
    return kept


def checkpoints_scored(trial: Trial) -> bool:
    """Whether `CheckpointConfig` says by which metric checkpoints are kept."""
    return trial.run_metadata.checkpoint_manager.checkpoint_config.checkpoint_score_attribute is not None


def last_checkpoint(trial: Trial) -> Checkpoint | None:
    """A trial's last persisted checkpoint, if it has one: public on a result, but not on the trial."""
    latest: Checkpoint | None = trial.checkpoint
    return latest


def latest_of(trial: Trial) -> Callable[[], Checkpoint | None]:
    """A function that tells a trial's latest checkpoint, and holds neither the trial nor Ray's handles in it."""
    manager = trial.run_metadata.checkpoint_manager

    def latest() -> Checkpoint | None:
        held = manager.latest_checkpoint_result
        return None if held is None else held.checkpoint

    return latest


def drop_superseded(trial: Trial) -> list[Checkpoint]:
    """Let Tune forget all checkpoints of a trial but the latest, as it does itself where `num_to_keep` is 1.

    Tune removes the folders at once then, also those that its last snapshot in the storage names; we do not.
    """
    manager = trial.run_metadata.checkpoint_manager
    old = [held for held in manager.best_checkpoint_results if held.checkpoint.path != trial.checkpoint.path]
    if old:
        manager._checkpoint_results = [held for held in manager.best_checkpoint_results if held not in old]
        trial.run_metadata.invalidate_cache()  # of what snapshots hold of it
    return [held.checkpoint for held in old]


class Driver(NamedTuple):
    """What a controller saves its experiment with, and where: on the driver, and in the storage.

    Tune saves a snapshot to a folder of the driver's, then lets a thread copy that, unless an earlier copy is under
    way, and tells nobody of either.
    """

    manager: Any
    syncer: Any
    filesystem: FileSystem
    here: str
    there: str

    @property
    def period(self) -> float:
        """Seconds between snapshots; infinite where none come."""
        return float(self.manager._checkpoint_period)

    @property
    def saved(self) -> float:
        """Tune's time of the last snapshot that was saved."""
        return float(self.manager._last_save_time)

    @property
    def synced(self) -> float | None:
        """Tune's time of the last copy that has begun; None before the first."""
        began: float | None = self.manager._last_sync_time
        return began

    @property
    def copy(self) -> Any:
        """Tune's record of the last copy; None before the first, and where Tune has waited for it."""
        return self.syncer._sync_process


def whole(controller: Any) -> Any:
    """The controller itself: hooks get a wrapper that warns of names it does not list."""
    return getattr(controller, "_tune_controller", controller)


def driver_of(controller: Any) -> Driver:
    """The driver of a whole controller; none of this is public."""
    storage = controller._storage
    there = PurePosixPath(controller.experiment_path, controller.experiment_state_file_name)
    parts = controller._checkpoint_manager, storage.syncer, storage.storage_filesystem
    return Driver(*parts, here=controller.experiment_state_path, there=str(there))


def arrived(copy: Any, timeout: float) -> bool:
    """Whether a copy is complete; after `timeout` seconds Tune waits for one no longer, and lets it go on."""
    if copy.is_running or "exception" in copy._result:
        return False
    return bool(time.time() - copy.start_time < timeout)  # minus infinity before it starts


@dataclass(frozen=True)
class Ground:
    """What a worker knows of the trial that it runs, beside its configuration.

    Args:
        filesystem: Of the experiment, with its endpoint and its credentials.
        ancestor: Name of the trial whose weights this one starts from; empty for none.
        checkpoint: Address of that trial's checkpoint; empty for none.
    """

    filesystem: FileSystem | None = None
    ancestor: str = ""
    checkpoint: str = ""


def hand_down(trial: Trial, ancestor: str, checkpoint: str) -> None:
    """Let the worker of a trial know whose weights it starts from: its `Ground` will tell.

    Tune hands the trial's own storage context to each worker that takes the trial over: to a fresh one, to one that is
    used again, after a failure and after a restore. The configuration, which belongs to the user, stays as it is.
    """
    setattr(trial.storage, _HANDED, (ancestor, checkpoint))


def ground_of_function() -> Ground | None:
    """That of the function that runs in this process; None where none does. Tune shows its storage nowhere."""
    session = get_session()
    return None if session is None else _ground(session.storage)


def runs_function_trial() -> bool:
    """Whether this process runs a trial's function; a worker of Ray Train, which has a rank, does not."""
    session = get_session()
    return session is not None and session.world_rank is None


def ground_of_trainable(trainable: object) -> Ground:
    """The same for a class trainable, which holds its storage itself; nothing is known where nobody runs it."""
    return _ground(getattr(trainable, "_storage", None))


def _ground(storage: object) -> Ground:
    return Ground(getattr(storage, "storage_filesystem", None), *getattr(storage, _HANDED, ()))


def leave_lost_checkpoint(trial: Trial, resumable: Callable[[Checkpoint], bool]) -> str | None:
    """The path of a trial's latest checkpoint where that is gone; the trial then returns from the newest that is left.

    Tune refuses to start such a trial, at every retry, and only its checkpoint manager can be told otherwise.
    """
    latest = trial.checkpoint
    if latest is None or resumable(latest):
        return None
    manager = trial.run_metadata.checkpoint_manager
    left = [held for held in manager.best_checkpoint_results if resumable(held.checkpoint)]
    newest = max(left, key=lambda held: held.metrics.get(TRAINING_ITERATION, 0), default=None)
    manager._latest_checkpoint_result = newest
    return str(latest.path)


def error_file(trial: Trial) -> str | None:
    """The driver's file of a trial's failures as text; None where it has not failed. Hooks are told of no exception."""
    path: str | None = trial.error_file
    return path


def experiment_folder(trial: Trial) -> str:
    """Folder on the driver from which Tune carries root-level *.json files into the storage and back on restore."""
    return str(trial.local_experiment_path)


def last_result(trial: Trial) -> dict[str, Any]:
    """The last result of a trial as schedulers would see it; empty before the first. Only hooks are handed results."""
    flat: dict[str, Any] = flatten_dict(trial.last_result)
    return flat


def lasting_results(trial: Trial, names: Collection[str]) -> list[dict[str, Any]]:
    """The last results, up to ten, of a trial that has ended, or of another those that its checkpoint has behind it.

    What comes after the checkpoint comes again. The last result is whole; of the others Tune keeps the numbers, each by
    itself: such `names` as were not in every result are left out, as far as it shows.

    Returns:
        Flat results, oldest first.
    """
    kept = {name: trial.metric_n_steps[name] for name in names if name in trial.metric_n_steps}
    values = {name: list(by_length[max(by_length, key=int)]) for name, by_length in kept.items()}
    count = max(map(len, values.values()), default=0)
    whole = {name: column for name, column in values.items() if len(column) == count}
    results = [{name: column[i] for name, column in whole.items()} for i in range(count - 1)]
    if trial.status == Trial.TERMINATED:
        return [*results, last_result(trial)]
    held = trial.run_metadata.checkpoint_manager.latest_checkpoint_result
    behind = held.metrics.get(TRAINING_ITERATION, 0) if held is not None else 0
    return [r for r in (*results, last_result(trial)) if r.get(TRAINING_ITERATION, math.inf) <= behind]


def wrapped_searcher(search: object) -> object:
    """The searcher inside Tune's generators and limiters, which all call what they wrap `searcher`."""
    while hasattr(search, "searcher"):
        search = search.searcher
    return search


def search_is_finished(controller: object) -> bool:
    """Whether no further trial will come. The complete and error hooks get the raw controller, which knows.

    Tune's own searchers notice that they are finished when they are asked for one trial more, which they are not while
    as many run as may: the number of trials tells it earlier.
    """
    search = getattr(controller, "search_alg", None)
    if search is None:
        return False
    planned = getattr(search, "total_samples", 0)
    return bool(search.is_finished() or 0 < planned <= len(controller.get_trials()))  # type: ignore[attr-defined]


def bundles(resources: Any) -> Bundles:
    """What a trial needs on one node each, by the dict or the `PlacementGroupFactory` that `with_resources` takes.

    Bundles that may not be apart are one.
    """
    factory = resources if isinstance(resources, PlacementGroupFactory) else resource_dict_to_pg_factory(resources)
    if factory.strategy == "STRICT_PACK":
        return (dict(factory.required_resources),)
    return tuple(dict(bundle) for bundle in factory.bundles)


def trial_bundles(trial: Trial) -> Bundles:
    """The same of a trial."""
    return bundles(trial.placement_group_factory)


def trial_storage(trial: Trial) -> tuple[FileSystem, str] | None:
    """The filesystem and the folder of an experiment on Ray; None of one that is simulated, whose context is another.

    A trial's storage is public on no object that a scheduler sees.
    """
    storage = trial.storage
    if type(storage) is not StorageContext:
        return None
    return storage.storage_filesystem, storage.experiment_fs_path


def may_grow() -> bool:
    """Whether an autoscaler may add nodes: Ray's launcher leaves a file on the head, KubeRay a variable in each pod."""
    return bool(_is_ray_cluster() or "KUBERAY_GEN_RAY_START_CMD" in os.environ)


def waiting(controller: object) -> Collection[Trial] | None:
    """Trials that wait for a worker, else those that are paused, in no order; None where nobody can tell.

    Public is only the list of all trials: to look through ten thousand of them, twice before each result, takes longer
    than all the rest.
    """
    inner = whole(controller)
    pending: Collection[Trial] | None = getattr(inner, "_pending_trials", None)
    paused: Collection[Trial] | None = getattr(inner, "_paused_trials", None)
    return None if pending is None or paused is None else pending or paused


def grid_values(value: object) -> list[Any] | None:
    """The values of `tune.grid_search`, which is a dict by convention; None for anything else."""
    if isinstance(value, Mapping) and set(value) == {"grid_search"}:
        return list(value["grid_search"])
    return None


__all__ = [
    "SHOULD_CHECKPOINT",
    "TRAINING_ITERATION",
    "Bundles",
    "Categorical",
    "Domain",
    "Driver",
    "Float",
    "Ground",
    "Integer",
    "LogUniform",
    "Normal",
    "Trial",
    "Uniform",
    "arrived",
    "bundles",
    "checkpoints_kept",
    "checkpoints_scored",
    "driver_of",
    "drop_superseded",
    "error_file",
    "experiment_folder",
    "grid_values",
    "ground_of_function",
    "ground_of_trainable",
    "hand_down",
    "last_checkpoint",
    "latest_of",
    "leave_lost_checkpoint",
    "may_grow",
    "resolved",
    "search_is_finished",
    "trial_bundles",
    "trial_storage",
    "waiting",
    "whole",
    "wrapped_searcher",
]
