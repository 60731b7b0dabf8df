"""Every name of Ray that is not documented as public, each with the reason it is needed.

`tests/tune/test_compat.py` pins each fact on the installed Ray: a Ray that changes one fails there first, by name.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping
from typing import Any

import numpy as np
from pyarrow.fs import FileType
from ray.tune import Checkpoint
from ray.tune.experiment import Trial  # DeveloperAPI, but every scheduler's hooks receive one
from ray.tune.result import SHOULD_CHECKPOINT, TRAINING_ITERATION  # the keys that Tune itself puts into results

# DeveloperAPI: the only way to tell the kinds of domains in a user's space apart.
from ray.tune.search.sample import Categorical, Domain, Float, Function, Integer, LogUniform, Normal, Uniform

# DeveloperAPI: resolves `sample_from` and its dependencies exactly as Tune does for its own searchers.
from ray.tune.search.variant_generator import assign_value, generate_variants
from ray.tune.utils import flatten_dict  # DeveloperAPI: what Tune flattens results by before schedulers see them

# pyarrow's names of the filesystems that `Checkpoint` can find again from an address alone, and their schemes.
_SCHEMES = {"s3": "s3", "gcs": "gs", "abfs": "abfs"}


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


def checkpoint_address(trial: Trial) -> str | None:
    """Where the trial's last persisted checkpoint lies, as a path or a URI; None where it has none.

    `Trial.checkpoint` is public on the result but not on the trial; its filesystem has to be put back into the address
    because a configuration holds text only. Filesystems without a known scheme yield None: no weights from there.
    """
    checkpoint = trial.checkpoint
    if checkpoint is None:
        return None
    kind = checkpoint.filesystem.type_name
    if kind == "local":
        return str(checkpoint.path)
    return f"{_SCHEMES[kind]}://{checkpoint.path}" if kind in _SCHEMES else None


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


def waiting(controller: object) -> Collection[Trial] | None:
    """Trials that wait for a worker, else those that are paused, in no order; None where nobody can tell.

    Public is only the list of all trials: to look through ten thousand of them, twice before each result, takes longer
    than all the rest. The choose hook gets a wrapper that warns of names it does not list, so the controller is asked.
    """
    inner = getattr(controller, "_tune_controller", controller)
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
    "Categorical",
    "Domain",
    "Float",
    "Integer",
    "LogUniform",
    "Normal",
    "Trial",
    "Uniform",
    "checkpoint_address",
    "checkpoints_kept",
    "experiment_folder",
    "grid_values",
    "leave_lost_checkpoint",
    "resolved",
    "search_is_finished",
    "waiting",
    "wrapped_searcher",
]
