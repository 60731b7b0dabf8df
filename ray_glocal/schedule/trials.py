"""The schedule of an experiment's best trial, its ancestors' with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.names import SESSION_FILE, TRACE_FILE
from ray_glocal.report.experiment import read
from ray_glocal.report.folder import RemoteFolder
from ray_glocal.schedule.lineage import Generation, best_run, lineage
from ray_glocal.schedule.schedule import LearnedSchedule
from ray_glocal.schedule.sessions import Recorded, joined, saved
from ray_glocal.session.state.checkpoint import fits, opened


def best_schedule(results: object, metric: str | None, mode: str | None) -> LearnedSchedule:
    """The schedule of the best trial; see `LearnedSchedule.of`."""
    experiment = read(results, metric, mode)
    run = best_run(experiment)
    line = lineage(experiment, run)
    if not has_session(line[-1].checkpoint):
        remedy = "A trial leaves one by `tune.report(session.metrics(), checkpoint=session.checkpoint())`."
        raise ArgumentError("results", f"hold a session's checkpoint of its best trial {run.id}", _place(line), remedy)
    found = handed_down(line)
    if found.unreadable is not None:
        raise found.unreadable
    return joined([recorded for recorded, _ in found.sessions])


def has_session(checkpoint: RemoteFolder | None) -> bool:
    """Whether a checkpoint is a session's."""
    return checkpoint is not None and SESSION_FILE in checkpoint.files()


class Inheritance(NamedTuple):
    """Sessions that went on with each other's weights, the eldest first, and why the next elder's cannot be read."""

    sessions: list[tuple[Recorded, Generation]]
    unreadable: CheckpointError | None


def handed_down(line: Sequence[Generation]) -> Inheritance:
    """Of a line of descent the part in which each trial began with the weights of the one before, as sessions do it.

    Args:
        line: The eldest first; the last has a session's checkpoint.
    """
    found: list[tuple[Recorded, Generation]] = []
    ours: Mapping[str, Any] | None = None
    for each in reversed(line):
        if found and not (each.weights and has_session(each.checkpoint)):
            break
        try:
            recorded, weights = _saved(each)
        except CheckpointError as error:
            return Inheritance(found, error)
        if ours is not None and not fits(weights, ours):
            break
        found.insert(0, (recorded, each))
        ours = weights
    return Inheritance(found, None)


def _saved(generation: Generation) -> tuple[Recorded, Mapping[str, Any]]:
    assert generation.checkpoint is not None
    try:
        with opened(generation.checkpoint, (SESSION_FILE, TRACE_FILE)) as folder:
            return saved(folder, generation.run.id)
    except CheckpointError as error:
        _, rule, got, _ = error.args
        readable = f"hold a readable checkpoint of trial {generation.run.id}"
        remedy = (
            f"It must {rule}; got {got!r}. Read it with the release of ray_glocal that wrote it; where it is damaged, "
            "move it out of the trial's folder, and the one before it counts."
        )
        raise CheckpointError("results", readable, generation.checkpoint.address, remedy) from error


def _place(line: Sequence[Generation]) -> str:
    folder = line[-1].run.folder
    return "" if folder is None else folder.address
