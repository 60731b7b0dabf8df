"""A progress display for Tune: what happened, in a line each, and where the experiment stands.

A callback, because Tune ignores a `progress_reporter` under its current output (`tune.run` says so itself). Silence
that output with `verbose=0` and pass `callbacks=[Progress()]` to `tune.run` or to `tune.RunConfig`.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from ray import tune

from ray_glocal.errors import ArgumentError
from ray_glocal.names import ROLLBACKS, VAL_LOSS
from ray_glocal.report.ending import ending
from ray_glocal.report.failure import cause
from ray_glocal.report.layout import shown
from ray_glocal.report.statusline import StatusLine
from ray_glocal.report.trial import ERROR_FILE, flat, kind_of, warnings_of
from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.ledger import Record
from ray_glocal.tune.reading import Reading, finite, number
from ray_glocal.tune.scheduler import GlocalScheduler, scheduler_of


class Progress(tune.Callback):  # type: ignore[misc]  # Ray ships no types
    """Tells of trials that finish, are pruned, start from an ancestor, correct their course, warn or fail.

    Below it keeps a status line. To go back to good weights, and on with a lower rate, is a session's ordinary work;
    what is not comes as a warning.

    A `GlocalScheduler` is found by itself, and tells the metric and its reasons; under any other scheduler a trial that
    was stopped early cannot be told from one that is done.

    Args:
        metric: Key of the value that is optimised; None for the scheduler's, or else "val_loss".
        mode: "min" or "max"; None for the scheduler's, or else "min".
        every: Seconds between two statuses where the output is no terminal.
        stream: Where to write; None for the standard output.

    Raises:
        ArgumentError: `mode` is neither "min" nor "max", or `every` is not positive.
    """

    def __init__(
        self,
        *,
        metric: str | None = None,
        mode: str | None = None,
        every: float = 10.0,
        stream: TextIO | None = None,
    ) -> None:
        if not every > 0:
            raise ArgumentError("every", "be a positive number of seconds", every, "Leave it out for 10.")
        self._reading = Reading(metric or VAL_LOSS, mode or "min")
        self._named = metric is not None or mode is not None
        self._line = StatusLine(every, stream)
        self._began = time.monotonic()
        self._samples = 0
        self._best: float | None = None
        self._last: dict[str, dict[str, Any]] = {}
        self._rollbacks: Counter[str] = Counter()
        self._started: set[str] = set()
        self._warnings: set[str] = set()

    def setup(
        self,
        stop: object = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._samples = total_num_samples or 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a trial that starts from another, once."""
        scheduler = scheduler_of(trial)
        record = None if scheduler is None else scheduler.ledger.trial(trial.trial_id)
        if record is not None and record.added.ancestor and trial.trial_id not in self._started:
            weights = " and weights" if record.added.weights else ""
            self._tell(trial, f"starts from the values{weights} of {record.added.ancestor}")
        self._started.add(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Take note of the best value so far; tell of a corrected course, and of warnings."""
        last = self._last[trial.trial_id] = flat({k: v for k, v in result.items() if k != "config"})
        reading = self._aim(trial)
        value = number(last.get(reading.metric))
        if value is not None and math.isfinite(value):
            self._best = value if self._best is None else min(value, self._best, key=lambda x: reading.sign * x)
        self._tell_of_rollbacks(trial, int(finite(last.get(ROLLBACKS)) or 0), reading.step(last))
        self._tell_of_warnings(trial, last)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell how a trial ended, and why if it was pruned."""
        pruned = _pruning(scheduler_of(trial), trial.trial_id)
        if pruned is not None:
            self._tell(trial, f"pruned at step {shown(pruned.step)}. {self._aim(trial).rephrased(pruned.reason)}")
            return
        last, reading = self._last.get(trial.trial_id, {}), self._aim(trial)
        value = shown(number(last.get(reading.metric)))
        self._tell(trial, f"done at step {shown(reading.step(last))}, {reading.metric} {value}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a failure that is retried."""
        self._tell(trial, "failed, and comes back from its last checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tell of a failure for good, and where to read of it."""
        error = _error(trial)
        text = f"failed for good: {cause(error)}; {ERROR_FILE} in its folder" if error else "failed for good"
        self._tell(trial, text)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Refresh the status."""
        if self._line.due:
            self._line.status(self._status(trials))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Leave the last status."""
        self._line.close(self._status(trials))

    def _tell_of_rollbacks(self, trial: Any, count: int, step: float) -> None:
        """Tell of the first, and then whenever they have doubled."""
        if count >= max(1, 2 * self._rollbacks[trial.trial_id]):
            self._rollbacks[trial.trial_id] = count
            how = f"{count} times by now" if count > 1 else "from good weights with a lower rate or weight decay"
            self._tell(trial, f"corrected its course by step {shown(step)}, {how}")

    def _tell_of_warnings(self, trial: Any, result: dict[str, Any]) -> None:
        """Tell of each kind of warning once: what one trial warns of, most do, with other figures."""
        for text in warnings_of(result):
            if kind_of(text) not in self._warnings:
                self._warnings.add(kind_of(text))
                self._tell(trial, f"warns: {text}")

    def _tell(self, trial: Any, text: str) -> None:
        self._line.line(f"{self._elapsed()}  {trial.trial_id} {text}")

    def _status(self, trials: Sequence[Any]) -> str:
        states = Counter(trial.status for trial in trials)
        scheduler = scheduler_of(trials[0]) if trials else None
        records = scheduler.ledger.trials if scheduler is not None else {}
        ended = [trial for trial in trials if trial.status == "TERMINATED"]
        kinds = Counter(self._ending(trial, records.get(trial.trial_id)) for trial in ended)
        waiting = states["PENDING"] + states["PAUSED"]
        counts = {"running": states["RUNNING"], "waiting": waiting, "done": kinds["done"], "pruned": kinds["pruned"]}
        counts |= {"failed": states["ERROR"] + kinds["failed"], "stopped": kinds["stopped"]}
        total = max(self._samples, len(trials))
        numbers = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name in ("running", "done"))
        best = "" if self._best is None else f"; best {self._reading.metric} {shown(self._best)}"
        return f"{self._elapsed()}  {numbers} of {total} trials{best}"

    def _ending(self, trial: Any, record: Record | None) -> str:
        if record is not None and record.pruned:
            return "pruned"
        results = bool(self._last.get(trial.trial_id) or getattr(trial, "last_result", None))
        error = not results and bool(trial.error_file)  # which Ray looks up on the disk
        return ending(record, trial.status, results=results, error=error)

    def _aim(self, trial: Any) -> Reading:
        """How results are read: as the user said, or as the scheduler does."""
        scheduler = scheduler_of(trial)
        if not self._named and scheduler is not None and scheduler.reading is not None:
            self._reading = scheduler.reading
        return self._reading

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60:3d}:{seconds % 60:02d}"


def _error(trial: Any) -> str:
    """What Tune wrote of a trial's failures; empty where there is nothing to be read."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace") if trial.error_file else ""
    except OSError:
        return ""


def _pruning(scheduler: GlocalScheduler | None, trial: str) -> Decision | None:
    """The decision that pruned `trial`; None where there is none or nobody knows."""
    record = scheduler.ledger.trial(trial) if scheduler is not None else None
    if scheduler is None or record is None or not record.pruned:
        return None
    return next((d for d in reversed(scheduler.ledger.decisions) if d.trial == trial and d.prunes), None)
