"""Trials whose results Tune's loggers did not keep: what the ledger knows of them, and Tune's snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ray_glocal.names import COST_STEPS, HYPER, STEP, TOTAL_STEPS, TRAINING_ITERATION
from ray_glocal.report.folder import RemoteFolder
from ray_glocal.report.trial import Row, Run, ancestor_of, error_of, flat, number
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger, Record


@dataclass(frozen=True)
class State:
    """What Tune's snapshot holds of a trial.

    Args:
        trial: Tune's trial id; empty where there is no snapshot of it.
        status: Tune's word for how it ended; empty where it has none.
        place: Name of its folder.
        config: Its configuration, flat.
        metadata: Further facts as JSON, the last result among them.
    """

    trial: str = ""
    status: str = ""
    place: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    metadata: str = "{}"

    @classmethod
    def of(cls, state: str, metadata: str) -> State:
        """The state in Tune's two texts.

        Raises:
            ValueError, KeyError, TypeError: They are of another form than Ray's now.
        """
        told = json.loads(state, object_hook=_without_pickles)
        names = told["trial_id"], str(told.get("status", "")), told["relative_logdir"]
        return cls(*names, flat(told.get("config") or {}), metadata)

    @property
    def last(self) -> Row:
        """The last result, flat; empty before the first."""
        told = json.loads(self.metadata, object_hook=_without_pickles).get("last_result") or {}
        result = flat({key: value for key, value in told.items() if key != "config"})
        return {key: value for key, value in result.items() if value is not None}


def _without_pickles(node: dict[str, Any]) -> dict[str, Any] | None:
    """What JSON cannot say, Tune pickles, and a pickle is never read."""
    return None if node.get("_type") == "CLOUDPICKLE_FALLBACK" else node


@dataclass(frozen=True)
class LedgerReports:
    """What the ledger keeps of results.

    Args:
        ledger: The ledger; None without one.
        metric: Key of the value that it keeps as a loss.
        sign: What turns the loss into the value.
    """

    ledger: Ledger | None
    metric: str
    sign: float

    def by_trial(self) -> dict[str, list[Reported]]:
        """All of them."""
        found: dict[str, list[Reported]] = {}
        for event in self.ledger.events if self.ledger is not None else ():
            if isinstance(event, Reported):
                found.setdefault(event.trial, []).append(event)
        return found

    def rows(self, reports: Iterable[Reported], last: Row) -> tuple[Row, ...]:
        """The results of a trial as far as they are known, by step.

        Args:
            reports: The ledger's.
            last: The last result that Tune's snapshot holds; its time is that of all results together.
        """
        clock = TRAINING_ITERATION if TRAINING_ITERATION in last and STEP not in last else STEP
        rows: dict[float, Row] = {each.step: self._row(each, clock) for each in reports}
        end = number(last, clock)
        if end is not None:
            rows[end] = {**rows.get(end, {}), **last, "time_this_iter_s": last.get("time_total_s")}
        return tuple(rows[step] for step in sorted(rows))

    def _row(self, report: Reported, clock: str) -> Row:
        told = {COST_STEPS: report.cost, TOTAL_STEPS: report.total}
        values = {f"{HYPER}{name}": value for name, value in report.hyper.items()}
        known = {key: value for key, value in told.items() if value is not None}
        return {clock: report.step, self.metric: self.sign * report.loss, **known, **values}


def unlogged(
    runs: Mapping[str, Run], states: Sequence[State], reports: LedgerReports, folders: Mapping[str, RemoteFolder]
) -> dict[str, Run]:
    """Trials without a file of results that have begun, by id.

    Args:
        runs: Trials whose folders hold files of Tune's loggers.
        states: Tune's snapshot of each trial.
        reports: What the ledger keeps.
        folders: The folders of the experiment, by name.
    """
    known = reports.ledger.trials if reports.ledger is not None else {}
    of = {state.trial: state for state in states}
    missing = [trial for trial in dict.fromkeys((*of, *known)) if trial not in runs or not runs[trial].logged]
    kept = reports.by_trial() if missing else {}
    found = {}
    for trial in missing:
        state = of.get(trial, State())
        rows = reports.rows(kept.get(trial, ()), state.last)
        run = replace(runs[trial], rows=rows) if trial in runs else _run(trial, state, known.get(trial), rows, folders)
        if trial in runs or _begun(run):
            found[trial] = run
    return found


def _run(
    trial: str, state: State, record: Record | None, rows: tuple[Row, ...], folders: Mapping[str, RemoteFolder]
) -> Run:
    folder = folders.get(state.place) or next((f for name, f in folders.items() if f"_{trial}_" in name), None)
    config = record.added.config if record is not None and record.added.config else state.config
    error = "" if folder is None else error_of(folder, folder.files())
    return Run(trial, config, rows, state.status, record, folder, ancestor_of(config, record), error, logged=False)


def _begun(run: Run) -> bool:
    """Whether anything shows that a trial was started: Tune calls those done that still waited when all was stopped."""
    failed = run.record is not None and run.record.status in ("errored", "lost")
    return bool(run.rows or run.error or failed or run.status in ("RUNNING", "PAUSED", "ERROR"))
