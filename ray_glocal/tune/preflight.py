"""What is easily forgotten on a cluster, caught by one message before the first trial instead of in each.

Storage that a node does not reach, `ray_glocal` that a node lacks or has another version of, resources that no node
has. Nodes are asked by a task each, in the environment that trials will run in.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from pyarrow.fs import FileSelector, FileSystem
from ray.exceptions import RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_glocal.errors import ArgumentError, ClusterError
from ray_glocal.tune._compat import Bundles, Trial, bundles, may_grow, trial_bundles, trial_storage
from ray_glocal.tune.probe import NodeAnswer, look
from ray_glocal.tune.storage import UNREADABLE, located

_NAMED = 5  # nodes that a sentence names
_WAIT = 120.0  # seconds for an answer: a worker may have to install its environment first

_SHARE = "Every node must read and write it: an object store (s3://..., gs://...) or a folder mounted on all of them."
_INSTALL = 'Put it into the image, or send it along: ray.init(runtime_env={"pip": [...]}) or {"py_modules": [...]}.'

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Args:
        name: Ray's id of it.
        address: Where it is, for people.
        resources: All that it has, by name.
    """

    name: str
    address: str
    resources: Mapping[str, float] = field(compare=False)

    def fits(self, bundle: Mapping[str, float]) -> bool:
        """Whether it could hold a bundle if nothing else ran there."""
        return all(self.resources.get(name, 0.0) >= amount for name, amount in bundle.items())


def preflight(
    storage_path: str | Path,
    *,
    storage_filesystem: FileSystem | None = None,
    resources: Any = None,
    wait: float = _WAIT,
) -> None:
    """Check that the cluster at hand can run an experiment; `GlocalScheduler` does so itself on more than one node.

    Args:
        storage_path: As in `tune.RunConfig`: a folder, a URI, or a path on `storage_filesystem`.
        storage_filesystem: As in `tune.RunConfig`.
        resources: Of one trial: a dict as for `tune.with_resources`, or a `tune.PlacementGroupFactory`; one CPU where
            it is left out.
        wait: Seconds after which a node that has not answered is passed over, with a warning.

    Raises:
        ArgumentError: The driver itself cannot write to the storage, or is not connected to a cluster.
        ClusterError: Nodes lack the storage or the driver's `ray_glocal`, or no node has the resources of a trial.
    """
    if not ray.is_initialized():
        remedy = 'Call ray.init(address="auto") on a node of the cluster.'
        raise ArgumentError("address", "have been given to ray.init", "no connection", remedy)
    try:
        filesystem, folder = located(storage_path, storage_filesystem)
    except UNREADABLE as error:
        raise _unwritable(str(storage_path), error) from error
    check(filesystem, folder, bundles(resources), wait=wait)


def check_for(trial: Trial) -> None:
    """The same for an experiment that begins with `trial`; on one node, or for a simulated one, it is not asked.

    Raises:
        ArgumentError: As `preflight`.
        ClusterError: As `preflight`.
    """
    if ray.is_initialized() and len(_alive()) > 1:
        place = trial_storage(trial)
        if place is not None:
            check(*place, trial_bundles(trial))


def check(filesystem: FileSystem, folder: str, wanted: Bundles, *, wait: float = _WAIT) -> None:
    """The same for a folder on a filesystem and the bundles of a trial.

    Raises:
        ArgumentError: The driver itself cannot write to the folder.
        ClusterError: As `preflight`.
    """
    nodes = _alive()
    trouble = list(_unfit(nodes, wanted))
    able = [node for node in nodes if any(node.fits(bundle) for bundle in wanted)]
    with _marked(filesystem, folder) as marked:
        answers = _asked(able, filesystem, marked, wait)
        left = _left(filesystem, marked)
        own = NodeAnswer(*look()(filesystem, marked, "the driver's own"))
    trouble += grouped(complaints(answers, own, left, folder))
    if trouble:
        raise ClusterError("The cluster is not ready for this experiment.\n" + "\n".join(f"- {t}" for t in trouble))


def _unwritable(folder: str, error: Exception) -> ArgumentError:
    remedy = f"The driver was told: {error}"
    return ArgumentError("storage_path", "be a place that the driver can write to", folder, remedy)


def _alive() -> list[Node]:
    return [Node(n["NodeID"], n["NodeManagerAddress"], n["Resources"]) for n in ray.nodes() if n["Alive"]]


def _unfit(nodes: Sequence[Node], wanted: Bundles) -> Iterator[str]:
    """Bundles that no node could ever hold; on a cluster that may grow they are a warning."""
    for bundle in wanted:
        if any(node.fits(bundle) for node in nodes):
            continue
        best = {name: max((node.resources.get(name, 0.0) for node in nodes), default=0.0) for name in bundle}
        sentence = (
            f"A trial asks for {_shown(bundle)} on one node; of its {len(nodes)} nodes none has all of that, and at "
            f"most {_shown(best)}. Ask for less by tune.with_resources, or add a node that has it."
        )
        if may_grow():
            logger.warning("%s Trials wait until the autoscaler brings one.", sentence)
        else:
            yield sentence


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {amount:g}" for name, amount in sorted(resources.items()))


@contextmanager
def _marked(filesystem: FileSystem, folder: str) -> Iterator[str]:
    """A folder of our own in the storage, with the driver's mark in it, for as long as the context lasts."""
    marked = f"{folder}/.preflight-{uuid.uuid4().hex[:8]}"
    try:
        filesystem.create_dir(marked, recursive=True)
        with filesystem.open_output_stream(f"{marked}/driver") as stream:
            stream.write(b"here")
    except UNREADABLE as error:
        raise _unwritable(folder, error) from error
    try:
        yield marked
    finally:
        filesystem.delete_dir(marked)


def _asked(nodes: Sequence[Node], filesystem: FileSystem, folder: str, wait: float) -> dict[Node, NodeAnswer | str]:
    """What each node answers, or why it cannot; those that do not answer are passed over."""
    task = ray.remote(num_cpus=0, max_retries=0)(look())
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node.name, soft=False)
        asked[task.options(scheduling_strategy=there).remote(filesystem, folder, node.name)] = node
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=wait) if asked else ([], [])
    for reference in late:
        logger.warning("Node %s has not answered within %g s: it is passed over.", asked[reference].address, wait)
    heard = {asked[reference]: _answer(reference, asked[reference]) for reference in done}
    return {node: answer for node, answer in heard.items() if answer is not None}


def _answer(reference: Any, node: Node) -> NodeAnswer | str | None:
    try:
        return NodeAnswer(*ray.get(reference))
    except RuntimeEnvSetupError as error:
        return f"cannot make the environment that `runtime_env` asks for: {error}"
    except RayError as error:
        logger.warning("Node %s could not be asked: %s", node.address, error)
        return None


def _left(filesystem: FileSystem, folder: str) -> set[str]:
    """Names of what the driver finds in the folder."""
    return {entry.base_name for entry in filesystem.get_file_info(FileSelector(folder))}


def complaints(
    answers: Mapping[Node, NodeAnswer | str], own: NodeAnswer, left: set[str], folder: str
) -> Iterator[tuple[str, Node]]:
    """What is wrong with each node.

    Args:
        answers: What nodes answered, or why they could not.
        own: What the driver says of itself.
        left: Names of the nodes whose files the driver sees.
        folder: The storage, as it was named.
    """
    for node, answer in answers.items():
        if isinstance(answer, str):
            yield answer, node
            continue
        if not answer.version:
            yield f"ray_glocal cannot be imported. {_INSTALL}", node
        elif answer.digest != own.digest:
            yield f"{_other(answer, own)} Install the same on all nodes.", node
        if answer.trouble:
            yield f"storage_path {folder!r} cannot be used: {answer.trouble}. {_SHARE}", node
        elif node.name not in left:
            yield (
                f"storage_path {folder!r} is another place there: the driver does not see what is written. {_SHARE}",
                node,
            )


def _other(answer: NodeAnswer, own: NodeAnswer) -> str:
    if "unknown" not in (answer.version, own.version) and answer.version != own.version:
        return f"ray_glocal {answer.version}, where the driver has {own.version}."
    return f"another ray_glocal than the driver's: its files differ ({answer.digest} there, {own.digest} here)."


def grouped(complaints: Iterator[tuple[str, Node]]) -> list[str]:
    """One line for each complaint, with the nodes that it is about."""
    nodes: dict[str, list[str]] = {}
    for sentence, node in complaints:
        nodes.setdefault(sentence, []).append(node.address)
    return [f"{_named(where)}: {sentence}" for sentence, where in nodes.items()]


def _named(addresses: Sequence[str]) -> str:
    more = len(addresses) - _NAMED
    names = ", ".join(addresses[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"node{'s' if len(addresses) > 1 else ''} {names}"


__all__ = ["Node", "check_for", "complaints", "grouped", "preflight"]
