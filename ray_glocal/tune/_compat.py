"""Every name of Ray that is not documented as public, each with the reason it is needed.

`tests/tune/test_compat.py` pins each fact on the installed Ray: a Ray that changes one fails there first, by name.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np
from pyarrow.fs import FileSystem, FileType
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

SNAPSHOT = "experiment_state-*.json"  # what Tune knows of an experiment's trials, in its folder
TUNER = "tuner.pkl"  # the `Tuner` that began the experiment
Bundles = tuple[Mapping[str, float], ...]


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


def last_checkpoint(trial: Trial) -> Checkpoint | None:
    """A trial's last persisted checkpoint, if it has one: public on a result, but not on the trial."""
    latest: Checkpoint | None = trial.checkpoint
    return latest


def filesystem_of_function() -> FileSystem | None:
    """The filesystem of the experiment whose function runs in this process, with its endpoint and its credentials.

    Tune hands it to every worker, and shows it nowhere.
    """
    session = get_session()
    return None if session is None else _filesystem(session.storage)


def filesystem_of_trainable(trainable: object) -> FileSystem | None:
    """The same for a class trainable, which holds it itself; None where nobody runs it."""
    return _filesystem(getattr(trainable, "_storage", None))


def _filesystem(storage: object) -> FileSystem | None:
    return getattr(storage, "storage_filesystem", None)


def leave_lost_checkpoint(trial: Trial) -> str | None:
    """The path of a trial's latest checkpoint where that is gone; the trial then returns from the newest that is left.

    Tune refuses to start such a trial, at every retry, and only its checkpoint manager can be told otherwise.
    """
    latest = trial.checkpoint
    if latest is None or _is_there(latest):
        return None
    manager = trial.run_metadata.checkpoint_manager
    left = [held for held in manager.best_checkpoint_results if _is_there(held.checkpoint)]
    newest = max(left, key=lambda held: held.metrics.get(TRAINING_ITERATION, 0), default=None)
    manager._latest_checkpoint_result = newest
    return str(latest.path)


def _is_there(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's folder exists; also where nobody can tell, as on a network that is away."""
    try:
        found = checkpoint.filesystem.get_file_info(checkpoint.path)
    except OSError:
        return True
    return bool(found.type != FileType.NotFound)


def experiment_folder(trial: Trial) -> str:
    """Folder on the driver from which Tune carries root-level *.json files into the storage and back on restore."""
    return str(trial.local_experiment_path)


def last_result(trial: Trial) -> dict[str, Any]:
    """The last result of a trial as schedulers would see it; empty before the first. Only hooks are handed results."""
    flat: dict[str, Any] = flatten_dict(trial.last_result)
    return flat


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
    "Float",
    "Integer",
    "LogUniform",
    "Normal",
    "Trial",
    "Uniform",
    "bundles",
    "checkpoints_kept",
    "experiment_folder",
    "filesystem_of_function",
    "filesystem_of_trainable",
    "grid_values",
    "last_checkpoint",
    "leave_lost_checkpoint",
    "may_grow",
    "resolved",
    "search_is_finished",
    "trial_bundles",
    "trial_storage",
    "wrapped_searcher",
]
