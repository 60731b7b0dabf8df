"""The scheduler: Tune's hooks become events, rules answer, answers become CONTINUE or STOP.

Nothing is paused and no trial is cloned in place: a pruned trial ends, and the searcher starts another from an
ancestor's values and checkpoint. A hook that raises would end the user's whole experiment, so hooks are total; what is
wrong with the configuration is said at the first hook of all, before any compute is spent.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecaster
from ray_glocal.koopman import forecaster as named_forecaster
from ray_glocal.names import DECISIONS_FILE
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import FORGOTTEN, Added, Completed, Errored
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rules import Rule
from ray_glocal.scheduling.tuning import REDUCTION
from ray_glocal.tune import decisions as table
from ray_glocal.tune._compat import (
    Trial,
    checkpoints_kept,
    checkpoints_scored,
    experiment_folder,
    hand_down,
    last_result,
    lasting_results,
    search_is_finished,
    waiting,
    wrapped_searcher,
)
from ray_glocal.tune.agreement import Agreement
from ray_glocal.tune.ancestry import address
from ray_glocal.tune.judge import Judge
from ray_glocal.tune.logbook import Logbook
from ray_glocal.tune.preflight import check_for
from ray_glocal.tune.reading import Reading, check_mode, flat_config
from ray_glocal.tune.resumption import leave_for_what_is_left
from ray_glocal.tune.retention import Retention, check_handing_down, check_kind
from ray_glocal.tune.terms import Terms
from ray_glocal.tune.tuning import GROWN
from ray_glocal.tune.unread import check_read

logger = logging.getLogger(__name__)

# Who judges which experiment, by its folder: Tune tells its callbacks of trials, but not of the scheduler.
_AT_WORK: WeakValueDictionary[str, GlocalScheduler] = WeakValueDictionary()


def scheduler_of(trial: Trial) -> GlocalScheduler | None:
    """The scheduler of this process that judges `trial`; None where another kind does."""
    return _AT_WORK.get(experiment_folder(trial))


class GlocalScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Prunes trials that can no longer win by their forecast final loss, and non-finite ones at once.

    Works for any trainable: trials of a `GlocalSession` report their own forecast; for others the reported metric is
    forecast. Answers CONTINUE and STOP only. Its memory, the ledger, is shared with a `GlocalSearch`, which saves it;
    beside another searcher it is kept in the experiment's folder. Either way it survives `Tuner.restore`.

    Args:
        metric: Key of the value that is optimised; None to take it from the searcher or from Tune.
        mode: "min" or "max", likewise.
        search: The searcher to share the ledger with; found by itself where it is left out.
        time_attr: Key of the trial's clock; `training_iteration` where a result lacks it.
        max_t: Steps after which a trial is done; None to leave that to the trainable.
        grace_period: Steps before which nobody is judged; rungs are then in steps. None for the end of training over
            `reduction_factor` ** 2 (1 where the end is not known: neither `max_t`, nor a stopping criterion, nor
            `total_steps` in the results); where results tell `total_steps`, as a session's do, rungs are then shares of
            each trial's own training, whatever its batch size, epochs or length, with one at two thirds (for 3).
        reduction_factor: One in this many trials of a rung goes on, 3 by default.
        rules: Names of pruning rules (`nonfinite`, `rung`), or rules.
        forecaster: Name of a forecaster of `ray_glocal.koopman`, or a forecaster.
        forecast_of: The metric whose end a session's own `forecast/final_loss` tells.
        bounds: Least and greatest value that the metric can take, which no forecast leaves; None for 0 to 1 (or to 100)
            where its name speaks of a share, as "accuracy" does, and for anything else no bounds.
        checkpoints: Which stay in the storage where `CheckpointConfig` says neither `num_to_keep` nor
            `checkpoint_score_attribute`. "needed": the latest one of each trial, and while it is not over those that
            a restored experiment would go on from; of trials that ended no more than the weights, if they are a
            session's, but all of it of the best one. "all": as Tune does, that of every report.
        preflight: Whether to ask the nodes of a cluster, before the first trial, if they reach the storage and have
            this `ray_glocal`, and if one has the resources of a trial: see `ray_glocal.tune.preflight`.

    Examples:
        >>> scheduler = GlocalScheduler(metric="val_loss", mode="min", grace_period=100)

    Raises:
        ArgumentError: An argument is out of its range or contradicts the searcher's.
    """

    _supports_buffered_results = False  # a buffered result would be judged after the trial had gone on

    def __init__(
        self,
        metric: str | None = None,
        mode: str | None = None,
        *,
        search: Any = None,
        time_attr: str = "step",
        max_t: float | None = None,
        grace_period: int | None = None,
        reduction_factor: int = REDUCTION,
        rules: Sequence[str | Rule] = ("nonfinite", "rung"),
        forecaster: str | Forecaster = "relaxation",
        forecast_of: str = "val_loss",
        bounds: tuple[float, float] | None = None,
        checkpoints: str = "needed",
        preflight: bool = True,
    ) -> None:
        super().__init__()
        check_kind(checkpoints)
        if mode is not None:
            check_mode(mode, metric or "")
        chosen = named_forecaster(forecaster) if isinstance(forecaster, str) else forecaster
        self._logbook = Logbook()
        self._judge = Judge(
            Terms(grace_period, reduction_factor, max_t, tuple(rules), chosen, time_attr), self._logbook
        )
        self._read_by = time_attr, forecast_of, bounds
        self._checkpoints, self._preflight, self._added = checkpoints, preflight, 0
        self._retention: Retention | None = None  # none before an experiment begins, or where all are kept
        self._folder: Path | None = None
        self._gathering = False  # whether an experiment has begun of which Tune may still name trials that it restores
        self._tabled = 0  # decisions already in the table's file
        self._running: dict[str, Trial] = {}
        self._order: dict[str, int] = {}  # places in Tune's list of trials: one that comes again goes to its end
        self._agreement = Agreement(self._logbook)
        self._agreement.find(search)
        self._agreement.take(metric, mode)

    @property
    def ledger(self) -> Ledger:
        """The memory of the experiment."""
        return self._logbook.ledger

    @property
    def metric(self) -> str | None:
        """The metric that Tune expects in every result, once somebody has named it."""
        return self._agreement.metric

    @property
    def reading(self) -> Reading | None:
        """How results are read; None before somebody has said which metric counts."""
        return self._judge.reading

    def __getstate__(self) -> dict[str, Any]:
        """Without Tune's trials and who removes their checkpoints, which belong to the experiment at work."""
        return {**vars(self), "_running": {}, "_retention": None}

    # Configuration: everything that may raise.

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take what Tune was told; called before anything runs.

        Raises:
            ArgumentError: `metric` or `mode` contradict the scheduler's or the searcher's own.
        """
        self._agreement.take(metric, mode)
        stop = spec.get("stop")
        self._judge.terms = replace(self._judge.terms, stop=dict(stop) if isinstance(stop, dict) else {})
        if self._agreement.complete:
            self._read_results()
        return True

    def _read_results(self) -> None:
        """Fix how results are read, for the searcher too; complain where nobody has said which metric counts."""
        reading = self._judge.reading = self._agreement.reading(*self._read_by)
        if self._agreement.search is not None:
            self._agreement.search.link(reading, self._end_stopped)

    def _begin(self, controller: Any, trial: Trial) -> None:
        """Once per experiment, at its first trial.

        Raises:
            ArgumentError: No metric or no mode anywhere, too few checkpoints are kept to hand down weights, or `search`
                is not the searcher that proposes the trials.
        """
        self._agreement.meet(wrapped_searcher(controller.search_alg))
        self._read_results()
        search = self._agreement.search
        if search is not None and search.weights:
            check_handing_down(trial)
        self._folder = Path(experiment_folder(trial))
        _AT_WORK[experiment_folder(trial)] = self
        self._judge.rulebook, self._tabled, self._gathering, self._running = None, 0, True, {}
        chosen = self._checkpoints == "all" or checkpoints_kept(trial) is not None or checkpoints_scored(trial)
        self._retention = None if chosen else Retention(controller, self.ledger)
        self._order = {}
        if search is None:
            self._logbook.begin(self._folder)

    def _check_ground(self) -> None:
        if self._agreement.search is not None:
            self._agreement.search.check_resumed()
        first = next(iter(self._running.values()), None)
        if self._preflight and first is not None:
            check_for(first)

    # Hooks.

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Record a new trial, or one that came back, with the results that memory lacks if it did not fail for good."""
        if self._folder is None or str(self._folder) != experiment_folder(trial):
            self._begin(tune_controller, trial)
        self.ledger.back(trial.trial_id)
        self._added += 1
        self._order[trial.trial_id] = self._added
        record = self.ledger.trial(trial.trial_id)
        over = trial.status in (Trial.TERMINATED, Trial.ERROR)
        if record is None:
            self._logbook.record(self._met(trial))
        elif record.status != "live" and not over:
            self._logbook.record(Added(trial.trial_id, record.added.config, record.attempt + 1))
        if not over:
            self._running[trial.trial_id] = trial
            leave_for_what_is_left(trial)
            self._hand_down(trial)
        if trial.status != Trial.ERROR and (record is None or record.running) and self.reading is not None:
            self._judge.recall(trial.trial_id, lasting_results(trial, self.reading.needed))
        if over:
            self._end(trial, error=trial.status == Trial.ERROR)
        self._retain(trial, over=trial.status == Trial.TERMINATED)

    def _met(self, trial: Trial) -> Added:
        """A trial that the memory does not know: somebody else's, a repetition, or one whose proposal is lost."""
        search = self._agreement.search
        if search is None:
            return Added(trial.trial_id, flat_config(trial.config))
        forgotten = Added(trial.trial_id, flat_config(trial.config), origin=FORGOTTEN if self._gathering else "")
        return (None if self._gathering else search.repeated(trial.trial_id, trial.config)) or forgotten

    def _hand_down(self, trial: Trial) -> None:
        """Let the trial's worker know whose weights it starts from."""
        record = self.ledger.trial(trial.trial_id)
        if record is not None and record.added.ancestor and record.added.weights:
            hand_down(trial, record.added.ancestor, record.added.weights)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first that waits; before the first choice of all, check the ground, and give up what Tune has lost.

        Not when trials are added: whatever is raised while Tune restores them makes it begin the experiment anew.

        Raises:
            ArgumentError: The experiment that is resumed is of another space, or its storage cannot be written to.
            ClusterError: Nodes on which trials would fail.
        """
        if self._gathering:
            self._gathering = False
            self._check_ground()
            self._give_up_lost()
        found = waiting(tune_controller)
        if found is None:
            return super().choose_trial_to_run(tune_controller)
        return min(found, key=lambda trial: self._order.get(trial.trial_id, math.inf), default=None)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """STOP where a rule says so, CONTINUE otherwise."""
        self._retain(trial)
        decision = self._judge.answer(trial.trial_id, result)
        stops = decision is not None and decision.stops
        # Tune compares with `is`, so the class constants themselves go back.
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE  # type: ignore[no-any-return]

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Record the end of a trial, with its last result: a stopper may have kept that from `on_trial_result`."""
        self._judge.note(trial.trial_id, result)
        self._judge.say_unread(trial.trial_id)
        self._end(trial, error=False)
        self._retain(trial, over=True)
        self._write_table_when_idle(tune_controller)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Record a failure. Tune has already set the status to ERROR where it is going to retry.

        Raises:
            ArgumentError: Before any trial has reported, one failed because nobody reads a name of its space.
        """
        own = map(self.ledger.trial, self._order)  # the memory may hold those of an earlier experiment too
        if not any(record is not None and record.latest for record in own):
            check_read(trial)
        self._end(trial, error=True, final=trial.status != Trial.ERROR)
        self._retain(trial)
        self._write_table_when_idle(tune_controller)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Record the end of a trial that was stopped before it ran."""
        self._end(trial, error=False)
        self._write_table_when_idle(tune_controller)

    def debug_string(self) -> str:
        """One line on where the experiment stands."""
        pruned = sum(record.pruned for record in self.ledger.trials.values())
        best = self.ledger.best()
        record = None if best is None else self.ledger.trial(best)
        sign = self.reading.sign if self.reading is not None else 1.0
        leader = ""
        if record is not None and record.latest is not None:
            leader = f", best forecast {sign * record.latest.final:.6g} ({best})"
        return f"GlocalScheduler: {len(self.ledger.live)} live, {pruned} pruned of {len(self.ledger.trials)}{leader}"

    # What the user may ask for.

    def decisions(self) -> list[dict[str, Any]]:
        """Every decision so far: trial, step, action, rule, reason, forecast, deviation; oldest first."""
        self._end_stopped()
        return table.rows(self.ledger, self.reading) if self.reading is not None else []

    def write_decisions(self, path: str | Path | None = None) -> Path:
        """Write the decisions as parquet, to the experiment's folder on the driver where no `path` is given.

        Raises:
            ArgumentError: No `path` is given before an experiment has begun.
        """
        if self.reading is None or (path is None and self._folder is None):
            raise ArgumentError("path", "be given before an experiment has begun", path, "Run the experiment first.")
        target = Path(path) if path is not None else Path(self._folder or "", DECISIONS_FILE)
        if path is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        return table.write(self.ledger, self.reading, target)

    def save(self, checkpoint_path: str) -> None:
        """Write the ledger."""
        Path(checkpoint_path).write_text(journal.write(self.ledger), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Fill the ledger from a file written by `save`.

        Raises:
            ArgumentError: The file is not a ledger of this version.
        """
        self.ledger.replace(journal.read(Path(checkpoint_path).read_text(encoding="utf-8")))

    # Ends.

    def _give_up_lost(self) -> None:
        """End what Tune did not bring back: a driver may die with a memory on disk that is newer than Tune's own.

        Such trials would count as live for ever, and as the ones that are left to win when others are pruned.
        """
        away = sorted(self.ledger.away)
        if away:
            logger.warning("Tune has lost the trials %s with its last snapshot; they are given up.", away)
        for end in self.ledger.given_up():
            self._logbook.record(end)

    def _end_stopped(self) -> None:
        """End what a stopper has ended together with the experiment: Tune tells neither scheduler nor searcher.

        Not even of the last result, where that one ended its trial and was still being saved.
        """
        over = [t for t in self._running.values() if t.status in (Trial.TERMINATED, Trial.ERROR)]
        for trial in over:
            self._judge.note(trial.trial_id, last_result(trial))
            self._end(trial, error=trial.status == Trial.ERROR)
        if over and not self.ledger.live:
            self._write_table()

    def _end(self, trial: Trial, error: bool, final: bool = True) -> None:
        if final:
            self._running.pop(trial.trial_id, None)
        record = self.ledger.trial(trial.trial_id)
        attempt = record.attempt if record is not None else 0
        if error:
            self._logbook.record(Errored(trial.trial_id, attempt, final))
        else:
            self._logbook.record(Completed(trial.trial_id, attempt, address(trial)))

    def _retain(self, trial: Trial, over: bool = False) -> None:
        """Let go of the checkpoints of a trial that are needed no more."""
        kept = self._retention
        if kept is not None:
            (kept.end if over else kept.restored if self._gathering else kept.follow)(trial)

    # The table of decisions.

    def _write_table_when_idle(self, controller: Any) -> None:
        """Write the table when nothing is live: at the end for sure, in between only where it has grown enough."""
        grown = len(self.ledger.decisions) > GROWN * self._tabled
        if not self.ledger.live and (grown or search_is_finished(controller)):
            self._write_table()

    def _write_table(self) -> None:
        if self.reading is None:
            return
        try:
            self.write_decisions()
        except OSError as error:
            logger.error("The decisions could not be written: %s", error)
        self._tabled = len(self.ledger.decisions)
