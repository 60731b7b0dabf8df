"""What an account notes beside its figures: what is not recorded, and that nothing has come for long."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ray_glocal.names import COST_STEPS, TRAINING_ITERATION
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.page.figures import duration
from ray_glocal.report.trial import Run, number

_SILENCE = 600.0  # seconds without a result, and
_PERIODS = 10  # times as long as any result took, after which that is doubted


def silence(runs: Sequence[Run], going: int) -> tuple[str, ...]:
    """That nothing has come for long although trials go on: a driver that is killed says nothing of it.

    Args:
        runs: All trials.
        going: How many of them count as going on.
    """
    last = max((number(row, "timestamp") or 0.0 for run in runs for row in run.rows[-1:]), default=0.0)
    longest = max((number(row, "time_this_iter_s") or 0.0 for run in runs for row in run.rows), default=0.0)
    quiet = time.time() - last
    if not going or not last or quiet < max(_SILENCE, _PERIODS * longest):
        return ()
    subject = "1 trial counts" if going == 1 else f"{going} trials count"
    return (
        f"{subject} as going on, and the last result came {duration(quiet)} ago. If the driver has died, "
        "tune.Tuner.restore(path, trainable) goes on from here.",
    )


def _guess(experiment: Experiment) -> str:
    """That nobody said whether a small or a large value is good, unless its name does."""
    if not experiment.guessed or "loss" in experiment.metric.lower():
        return ""
    return (
        f"nothing here says whether a small or a large {experiment.metric} is good, so the smallest counts as the "
        'best. Where a large one is, give --mode max (in Python mode="max").'
    )


def _unlogged(experiment: Experiment) -> str:
    """That Tune's loggers did not keep what trials reported, and what is missing for it."""
    count = sum(not run.logged for run in experiment.runs)
    if not count:
        return ""
    known = "what the scheduler optimises, adapted values and costs are the ledger's, the rest is of"
    if experiment.ledger is None:
        known = "all that is known of them is"
    return (
        f"{count} of {len(experiment.runs)} trials left no result.json (TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 switches "
        f"it off): {known} the last result in Tune's snapshot. Training losses, other metrics, warnings and times "
        "before a trial's last result are missing: curves lack the training loss, the chart of workers shows a trial "
        "as one bar, that of the cost as one step, and work that was done again after a failure does not count. "
        "RunConfig(callbacks=[ray.tune.logger.JsonLoggerCallback()]) keeps result.json."
    )


def gaps(experiment: Experiment, *, counted: bool) -> tuple[str, ...]:
    """What an experiment does not record, in sentences.

    Args:
        experiment: The experiment.
        counted: Whether every trial counts its inner-step equivalents.
    """
    notes = [note for note in (_guess(experiment), _unlogged(experiment)) if note]
    if not experiment.scheduled and any(run.rows for run in experiment.runs):
        notes.append(
            "no GlocalScheduler judged these trials, so forecasts and the reasons for ending a trial are not recorded; "
            '"early" is a trial that ended before the longest one.'
        )
    if experiment.ledger is not None and experiment.ledger.torn:
        notes.append(experiment.ledger.torn)
    if not counted and any(run.rows for run in experiment.runs):
        notes.append(
            f"not every trial counts its inner-step equivalents ({COST_STEPS}); there, reported steps are counted, "
            "and validation is not in them."
        )
    clocks = {run.clock for run in experiment.runs if run.rows}
    if TRAINING_ITERATION in clocks:
        notes.append("trials that report no `step` are measured in training iterations.")
    return tuple(notes)
