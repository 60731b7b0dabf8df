"""An experiment as its folder tells it: the trials, Tune's words on their ends, and the ledger where there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ray_glocal import tables
from ray_glocal.errors import ArgumentError
from ray_glocal.names import DECISIONS_FILE, EXPERIMENT_STATE, LEDGER_FILE, SEARCHER_STATE, SIGN, VAL_LOSS
from ray_glocal.report import trial as trials
from ray_glocal.report.folder import TRIAL_FILES, RemoteFolder, opened
from ray_glocal.report.recorded import LedgerReports, State, unlogged
from ray_glocal.report.trial import TUNES, Run, number
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Reported, Settled
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.sentences import in_the_users_terms

_LEDGER_START = journal.HEADER.encode()


@dataclass(frozen=True)
class Experiment:
    """A whole experiment.

    Args:
        name: The name of its folder.
        path: Where it lies: a path, or the address that was given.
        metric: Key of the value that is optimised.
        mode: "min" or "max".
        runs: Its trials, in the order in which Tune made them.
        ledger: Our memory of it; None where neither our scheduler nor our searcher took part.
        decisions: Rows of our scheduler's table, in the user's units; empty without it.
        scheduler: Whether our scheduler has left a file.
        guessed: Whether nobody said the mode.
    """

    name: str
    path: str
    metric: str
    mode: str
    runs: tuple[Run, ...]
    ledger: Ledger | None = field(default=None, compare=False)
    decisions: tuple[dict[str, Any], ...] = ()
    scheduler: bool = False
    guessed: bool = False

    @property
    def sign(self) -> float:
        """What turns the metric into a loss, and back."""
        return 1.0 if self.mode == "min" else -1.0

    def rephrased(self, reason: str) -> str:
        """A sentence of the ledger, as the table of decisions, which is written at the end, has it already."""
        return in_the_users_terms(reason, self.metric, self.mode)

    @cached_property
    def forecasts(self) -> dict[str, tuple[float, float]]:
        """Step and value, in the metric's units, of the last forecast of each trial's end that the ledger holds."""
        events = self.ledger.events if self.ledger is not None else ()
        made = [(e.trial, e.step, e.mean) for e in events if isinstance(e, Reported)]
        return {trial: (step, self.sign * mean) for trial, step, mean in made if mean is not None}

    @property
    def scheduled(self) -> bool:
        """Whether our scheduler judged the trials."""
        return self.scheduler or bool(self.decisions) or (self.ledger is not None and bool(_signs(self.ledger)))


def read(results: object, metric: str | None = None, mode: str | None = None) -> Experiment:
    """The experiment in `results`.

    Args:
        results: Path of its folder, a `ray.tune.ResultGrid` or an `ExperimentAnalysis`.
        metric: Key of the value that is optimised; None for what the experiment itself says, or else "val_loss".
        mode: "min" or "max"; None for what the experiment itself says, or else "min".

    Raises:
        ArgumentError: `results` is no experiment, `mode` is neither "min" nor "max", or no result holds `metric`.
    """
    if mode not in (None, "min", "max"):
        raise ArgumentError("mode", "be 'min' or 'max'", mode, "Say whether a small or a large metric is good.")
    folder = opened(results)
    ledger = ledger_in(folder)
    metric, said = _said(results, ledger, metric, mode)
    mode = said or "min"
    runs = _runs(folder, ledger, metric, mode)
    _check_metric(metric, runs)
    ours = bool({DECISIONS_FILE, LEDGER_FILE} & set(folder.files()))
    return Experiment(folder.name, folder.address, metric, mode, runs, ledger, _decisions(folder), ours, said is None)


def ledger_in(folder: RemoteFolder) -> Ledger | None:
    """The ledger of an experiment, from the searcher's file or the scheduler's own; None where there is none.

    Raises:
        ArgumentError: The ledger is damaged.
    """
    files = folder.files()
    saved = [name for name in files if name.startswith(SEARCHER_STATE) and name.endswith(".pkl")]
    # The newest first. Another searcher's file of this name is a pickle: it is looked at, and never unpickled.
    for name in [*reversed(saved), LEDGER_FILE]:
        content = folder.content(name) if name in files else b""
        if content.startswith(_LEDGER_START):
            return journal.read(content.decode("utf-8"))
    return None


def aim(results: object, ledger: Ledger) -> tuple[str, str]:
    """What is optimised: as the ledger says, else as Tune was told."""
    metric, said = _said(results, ledger)
    return metric, said or "min"


def _said(
    results: object, ledger: Ledger | None, metric: str | None = None, mode: str | None = None
) -> tuple[str, str | None]:
    """What is optimised: as asked for, else as the ledger says, else as Tune was told; None for a mode nobody said."""
    settled = dict(_signs(ledger)) if ledger is not None else {}
    recorded = next(iter(settled), None) or getattr(results, "default_metric", None)
    name = metric or recorded or VAL_LOSS
    if mode is None and name in settled:
        mode = "min" if settled[name] > 0 else "max"
    return name, mode or getattr(results, "default_mode", None)


def _check_metric(metric: str, runs: Sequence[Run]) -> None:
    if any(number(row, metric) is not None for run in runs for row in run.rows):
        return
    reported = {key for run in runs for row in run.rows for key in row if number(row, key) is not None}
    if reported:
        rule = "name a value that trials reported"
        remedy = f"They reported {', '.join(sorted(reported - TUNES or reported))}."
        raise ArgumentError("metric", rule, metric, remedy)


def _signs(ledger: Ledger) -> list[tuple[str, float]]:
    settings = [e for e in ledger.events if isinstance(e, Settled) and e.name.startswith(SIGN)]
    return [(e.name.removeprefix(SIGN), e.value) for e in settings]


def _runs(folder: RemoteFolder, ledger: Ledger | None, metric: str, mode: str) -> tuple[Run, ...]:
    states = {state.place: state for state in _states(folder)}
    folders = {inside.name: inside for inside in folder.folders()}
    record = ledger.trial if ledger is not None else _unknown
    found: dict[str, Run] = {}
    for name, inside in folders.items():
        if TRIAL_FILES & set(inside.files()):
            state = states.get(name, State())
            run = trials.read(inside, record, state.trial or _owner(name, ledger), state.status)
            found[run.id] = run
    settled = _signs(ledger) if ledger is not None else []
    reports = LedgerReports(ledger, *next(iter(settled), (metric, 1.0 if mode == "min" else -1.0)))
    found |= unlogged(found, tuple(states.values()), reports, folders)
    order = [state.trial for state in states.values()] + list(found)
    return tuple(found[name] for name in dict.fromkeys(order) if name in found)


def _owner(name: str, ledger: Ledger | None) -> str:
    """The trial in a folder of which Tune's snapshot knows nothing, by the ledger; else the folder's name."""
    known = ledger.trials if ledger is not None else ()
    return next((trial for trial in known if f"_{trial}_" in name), name)


def _unknown(trial: str) -> None:
    """What is known of a trial without a ledger."""


def _states(folder: RemoteFolder) -> list[State]:
    """Tune's own record of each trial; empty where there is none that can be read."""
    names = [name for name in folder.files() if name.startswith(EXPERIMENT_STATE)]
    if not names:
        return []
    try:
        return [State.of(row[0], row[1]) for row in json.loads(folder.content(names[-1]))["trial_data"]]
    except (ValueError, KeyError, TypeError, IndexError):
        return []  # Ray's own format, which it may change: the results tell the rest


def _decisions(folder: RemoteFolder) -> tuple[dict[str, Any], ...]:
    if DECISIONS_FILE not in folder.files():
        return ()
    content = folder.content(DECISIONS_FILE)
    try:
        return tuple(tables.rows(content))
    except tables.UNREADABLE:
        return ()  # Tune copies it as we read, or was killed as it did: the ledger knows as much
