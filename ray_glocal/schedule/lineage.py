"""The best trial of an experiment and its ancestors, with the checkpoints that lie in their folders."""

from __future__ import annotations

from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.names import CHECKPOINT
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.failure import failures, in_short
from ray_glocal.report.folder import RemoteFolder
from ray_glocal.report.trial import Run


@dataclass(frozen=True)
class Generation:
    """A trial in a line of descent.

    Args:
        run: The trial.
        checkpoint: The one that tells of it: what it handed down, or its last; None where there is none.
        weights: Whether it was meant to hand down its weights, and not its values alone.
    """

    run: Run
    checkpoint: RemoteFolder | None
    weights: bool


def best_run(experiment: Experiment) -> Run:
    """The trial with the best finite value.

    Raises:
        ArgumentError: No trial reported one.
    """
    ranked = [
        (experiment.sign * float(row[experiment.metric]), place, run)
        for place, run in enumerate(experiment.runs)
        if (row := run.best(experiment.metric, experiment.sign)) is not None
    ]
    if not ranked:
        rule = f"hold a trial that reported a finite {experiment.metric}"
        raise ArgumentError("results", rule, experiment.path, _why_none(experiment))
    return min(ranked)[2]


def _why_none(experiment: Experiment) -> str:
    failed, runs = failures(experiment.runs), experiment.runs
    if failed:
        count = sum(len(each.trials) for each in failed)
        return f"{count} of {len(runs)} trials failed: {in_short(failed)}."
    if not any(run.rows for run in runs):
        return f"None of its {len(runs)} trials has reported anything."
    return "All that they reported of it is infinite or not a number."


def lineage(experiment: Experiment, run: Run) -> list[Generation]:
    """A trial's ancestors, the eldest first, and then itself.

    An ancestor whose folder is gone ends the line.
    """
    runs = {each.id: each for each in experiment.runs}
    line = [Generation(run, _last(run), weights=False)]
    while True:
        ancestor = line[0].run.ancestor
        elder = None if ancestor is None else runs.get(ancestor.trial)
        if ancestor is None or elder is None or any(elder.id == each.run.id for each in line):
            return line
        handed = _named(elder, ancestor.checkpoint) if ancestor.checkpoint else None
        line.insert(0, Generation(elder, handed or _last(elder), weights=bool(ancestor.checkpoint)))


def _last(run: Run) -> RemoteFolder | None:
    """A trial's last checkpoint."""
    return next(iter(_checkpoints(run)), None)


def _named(run: Run, address: str) -> RemoteFolder | None:
    """The checkpoint that an address leads to, wherever the experiment lies by now."""
    name = address.rstrip("/").rsplit("/", 1)[-1]
    return next((folder for folder in _checkpoints(run) if folder.name == name), None)


def _checkpoints(run: Run) -> list[RemoteFolder]:
    """A trial's checkpoints, the newest first."""
    inside = [] if run.folder is None else run.folder.folders()
    return [folder for folder in reversed(inside) if folder.name.startswith(CHECKPOINT)]
