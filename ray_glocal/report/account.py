"""The account of one experiment: `summary(results)`, whose text is what `python -m ray_glocal report` prints."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.names import ACTION, FINAL_LOSS, HYPER, REASON, RULE, TRIAL, VAL_LOSS
from ray_glocal.report import layout
from ray_glocal.report.cost import TotalCost, cost_of
from ray_glocal.report.ending import DONE, GOING, STOPPED
from ray_glocal.report.experiment import Experiment, read
from ray_glocal.report.failure import Failed, failures
from ray_glocal.report.notes import gaps, silence
from ray_glocal.report.trial import ERROR_FILE, Row, Run, kind_of, number
from ray_glocal.scheduling.decision import FINISHED, Action

_TEST = "test_"
_SHOWN = 40  # trials in the text
_NAMED = 4  # trials that a warning names


@dataclass(frozen=True)
class Trial:
    """One line of the account.

    Args:
        id: Tune's trial id.
        config: What tells its configuration from the others': the discrete part, and the start values of what was not
            adapted.
        status: "done", "pruned", "early" (ended before others, and nobody recorded why), "failed", "running", ...
        steps: The furthest that it came.
        best: Best finite value of the metric; None where there is none.
        last: The value reported last.
        forecast: The forecast of its end that was made last; None where nobody forecast.
        foretold: The step at which it was made; None without one.
        rule: Name of the rule that pruned it; empty where none did.
        reason: The sentence that goes with it.
    """

    id: str
    config: Mapping[str, Any]
    status: str
    steps: float
    best: float | None
    last: float | None
    forecast: float | None
    foretold: float | None = None
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True)
class AdaptedValue:
    """A continuous hyperparameter of the best trial: where it started, and where it is now."""

    name: str
    start: float | None
    now: float

    @property
    def factor(self) -> float | None:
        """How many times its start value it is now; None where that means nothing."""
        return self.now / self.start if self.start and self.now / self.start > 0 else None


@dataclass(frozen=True)
class Pruned:
    """Trials that one rule pruned: how many, and its sentence for one of them."""

    rule: str
    count: int
    example: str


@dataclass(frozen=True)
class Warned:
    """A warning that sessions gave, with the figures of the first, and the trials in which they did."""

    text: str
    trials: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """What an experiment came to.

    Args:
        name: Name of its folder.
        path: Where it lies.
        metric: Key of the value that is optimised.
        mode: "min" or "max".
        trials: All of them, the best first.
        best: The best; None where no trial reported a finite value.
        config: The whole configuration of the best.
        adapted: Its adapted values.
        bounds: Which of them ended at a bound, in sentences.
        tests: Its test metrics, by name, from the result with the best value, or else from the last that has any.
        pruned: Why trials were pruned.
        failed: What ended the trials that failed.
        cost: What all trials cost.
        warnings: Every warning that a session gave.
        notes: What is not recorded, in sentences.
    """

    name: str
    path: str
    metric: str
    mode: str
    trials: tuple[Trial, ...]
    best: Trial | None
    config: Mapping[str, Any]
    adapted: tuple[AdaptedValue, ...]
    bounds: tuple[str, ...]
    tests: Mapping[str, float]
    pruned: tuple[Pruned, ...]
    failed: tuple[Failed, ...]
    cost: TotalCost
    warnings: tuple[Warned, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return self.text()

    def text(self, trials: int = _SHOWN) -> str:
        """The account as plain text of at most 100 columns.

        Args:
            trials: How many trials to list at most, the best ones.

        Raises:
            ArgumentError: `trials` is negative.
        """
        if trials < 0:
            raise ArgumentError("trials", "be 0 or more", trials, "So many are listed at most, the best ones.")
        middle = self._best(), self._failed(), self._pruned(), self._cost(), self._warnings()
        parts = (self._head(), self._table(trials), *middle, self._notes())
        return "\n\n".join(part for part in parts if part)

    @property
    def errors(self) -> tuple[str, ...]:
        """A line for each kind of error that ended trials."""
        return tuple(f"{len(each.trials)} by {each.text} ({_trials(each.trials)})" for each in self.failed)

    def _head(self) -> str:
        direction = "smallest" if self.mode == "min" else "largest"
        counts = Counter(trial.status for trial in self.trials)
        endings = ", ".join(f"{count} {status}" for status, count in counts.items())
        among = f" ({endings})" if endings else ""
        trials = "1 trial" if len(self.trials) == 1 else f"{len(self.trials)} trials"
        return f"{self.name}: {trials}{among}; {direction} {self.metric} wins\n{self.path}"

    def _table(self, limit: int) -> str:
        heads = ("trial", "configuration", "status", "steps", "best", "last", "forecast", "why")
        rows = [
            (
                t.id,
                " ".join(layout.listed(((name, _value(value)) for name, value in t.config.items()), "=")),
                t.status,
                *map(layout.shown, (t.steps, t.best, t.last)),
                _foretold(t),
                t.rule,
            )
            for t in self.trials[:limit]
        ]
        text = layout.table(heads, rows, words=("trial", "configuration", "status", "why"))
        rest = len(self.trials) - limit
        return f"{text}\n... and {rest} more" if rest > 0 else text

    def _best(self) -> str:
        if self.best is None:
            return f"No trial reported a finite {self.metric}."
        names = {adapted.name for adapted in self.adapted}
        config = ", ".join(layout.listed((k, _value(v)) for k, v in self.config.items() if k not in names))
        lines = [
            layout.paragraph(f"Best: trial {self.best.id}, {self.metric} {layout.shown(self.best.best)}: {config}")
        ]
        if self.adapted:
            rows = [("  " + a.name, *map(layout.shown, (a.start, a.now, a.factor))) for a in self.adapted]
            lines.append(layout.table(("  adapted", "start", "now", "factor"), rows, words=("  adapted",)))
        lines += [layout.paragraph(sentence, "  ") for sentence in self.bounds]
        if self.tests:
            tests = ", ".join(f"{name} {layout.shown(value)}" for name, value in self.tests.items())
            lines.append(layout.paragraph(f"Test: {tests}"))
        return "\n".join(lines)

    def _failed(self) -> str:
        if not self.failed:
            return ""
        total = sum(len(failed.trials) for failed in self.failed)
        lines = [f"Failed: {total} of {len(self.trials)} trials; each has its traceback in {ERROR_FILE} in its folder"]
        return "\n".join([*lines, *(layout.paragraph(error, "  ") for error in self.errors)])

    def _pruned(self) -> str:
        if not self.pruned:
            return ""
        total = sum(pruned.count for pruned in self.pruned)
        lines = [f"Pruned: {total} of {len(self.trials)} trials"]
        for pruned in self.pruned:
            lines.append(layout.paragraph(f"{pruned.count} by {pruned.rule}, for example: {pruned.example}", "  "))
        return "\n".join(lines)

    def _cost(self) -> str:
        cost = self.cost
        share = (
            f", {cost.hypergradients:.0%} of a session's on hypergradients" if cost.hypergradients is not None else ""
        )
        unit = "inner-step equivalents" if cost.counted else "inner steps"
        return layout.paragraph(
            f"Cost: {layout.shown(round(cost.steps))} {unit}, {cost.seconds:.1f} trial seconds{share}"
        )

    def _warnings(self) -> str:
        lines = [layout.paragraph(f"Warning ({_trials(w.trials)}): {w.text}") for w in self.warnings]
        return "\n".join(lines)

    def _notes(self) -> str:
        return "\n".join(layout.paragraph(f"Note: {note}") for note in self.notes)


def summary(results: object, *, metric: str | None = None, mode: str | None = None) -> Summary:
    """The account of an experiment.

    Args:
        results: Path of its folder, a `ray.tune.ResultGrid` or an `ExperimentAnalysis`.
        metric: Key of the value that is optimised; None for what the experiment itself says, or else "val_loss".
        mode: "min" or "max"; None for what the experiment itself says, or else "min".

    Returns:
        A `Summary`; print it. It holds `trials`, the best first, `best` and its `config`, its `adapted` values, why
        trials were `pruned` or `failed`, what all of it `cost`, and the `warnings` of sessions.

    Raises:
        ArgumentError: `results` is no experiment, or no trial in it reported `metric`.
    """
    return summarised(read(results, metric, mode))


def summarised(experiment: Experiment) -> Summary:
    """The account of an experiment that was read."""
    runs, key, sign = experiment.runs, experiment.metric, experiment.sign
    longest = max((run.steps for run in runs), default=0)
    names = _telling(runs)
    rank = {run.id: _rank(run, key, sign) for run in runs}
    ordered = sorted(runs, key=lambda run: rank[run.id])
    verdicts = _verdicts(experiment)
    trials = tuple(_trial(run, experiment, names, longest, verdicts.get(run.id)) for run in ordered)
    cost, going = cost_of(runs), sum(trial.status in GOING for trial in trials)
    leads = bool(ordered) and math.isfinite(rank[ordered[0].id])
    return Summary(
        name=experiment.name,
        path=experiment.path,
        metric=key,
        mode=experiment.mode,
        trials=trials,
        best=trials[0] if leads else None,
        config=ordered[0].config if leads else {},
        adapted=adapted_of(ordered[0]) if leads else (),
        bounds=ordered[0].bounds if leads else (),
        tests=_tests(ordered[0], ordered[0].best(key, sign)) if leads else {},
        pruned=_pruned(trials),
        failed=failures(ordered),
        cost=cost,
        warnings=_warnings(ordered),
        notes=(*silence(runs, going), *gaps(experiment, counted=cost.counted)),
    )


def _rank(run: Run, metric: str, sign: float) -> float:
    row = run.best(metric, sign)
    return math.inf if row is None else sign * float(row[metric])


def _telling(runs: tuple[Run, ...]) -> list[str]:
    """Names whose values differ between trials and that no session adapts: text and whole numbers before fractions."""
    adapted = {key.removeprefix(HYPER) for run in runs for row in run.rows[:1] for key in row if key.startswith(HYPER)}
    adapted |= {name for run in runs if run.record is not None for name in run.record.added.start}
    values: dict[str, list[Any]] = {}
    for run in runs:
        for name, value in run.config.items():
            values.setdefault(name, []).append(value)
    varied = [name for name, seen in values.items() if name not in adapted and len({repr(value) for value in seen}) > 1]
    return sorted(varied, key=lambda name: any(isinstance(value, float) for value in values[name]))


def _trial(
    run: Run, experiment: Experiment, names: list[str], longest: float, verdict: tuple[str, str] | None
) -> Trial:
    best = run.best(experiment.metric, experiment.sign)
    rule, reason = verdict or ("", "")
    foretold, forecast = _forecast(run, experiment)
    return Trial(
        id=run.id,
        config={name: run.config[name] for name in names if name in run.config},
        status="pruned" if rule else _status(run, early=run.steps < longest and not experiment.scheduled),
        steps=run.steps,
        best=None if best is None else float(best[experiment.metric]),
        last=run.last(experiment.metric),
        forecast=forecast,
        foretold=foretold,
        rule=rule,
        reason=reason,
    )


def _verdicts(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """The rule that pruned a trial, and its sentence, by trial."""
    decided = experiment.ledger.decisions if experiment.ledger is not None else ()
    found = {d.trial: (d.rule, experiment.rephrased(d.reason)) for d in decided if d.prunes}
    return found | {row[TRIAL]: (row[RULE], row[REASON]) for row in experiment.decisions if _stopped(row)}


def _stopped(row: Row) -> bool:
    return bool(row[ACTION] == Action.STOP.value and row[RULE] != FINISHED)


def _status(run: Run, *, early: bool) -> str:
    """How a trial ended; one that was stopped before it reported anything counts as done."""
    ending = DONE if run.ending == STOPPED else run.ending
    return "early" if ending == DONE and early else ending


def _foretold(trial: Trial) -> str:
    """A trial's forecast, with the step at which it was made where the trial has reported since."""
    stale = trial.foretold is not None and trial.foretold < trial.steps
    return f"{layout.shown(trial.forecast)} @{layout.shown(trial.foretold)}" if stale else layout.shown(trial.forecast)


def _forecast(run: Run, experiment: Experiment) -> tuple[float | None, float | None]:
    """Step and value of the last forecast: the ledger's, who has the scheduler's own too, or else a session's."""
    if run.id in experiment.forecasts:
        return experiment.forecasts[run.id]
    key = FINAL_LOSS if experiment.metric == VAL_LOSS else ""
    forecasts = [(number(row, run.clock), value) for row in run.rows if (value := number(row, key)) is not None]
    return next(((step, value) for step, value in reversed(forecasts) if math.isfinite(value)), (None, None))


def adapted_of(run: Run) -> tuple[AdaptedValue, ...]:
    """A trial's adapted hyperparameters, as it reported them last."""
    keys = [key for row in run.rows[-1:] for key in row if key.startswith(HYPER)]
    values = [(key.removeprefix(HYPER), number(run.rows[-1], key)) for key in keys]
    return tuple(AdaptedValue(name, number(run.config, name), now) for name, now in values if now is not None)


def _tests(run: Run, best: Row | None) -> dict[str, float]:
    for row in (best or {}, *reversed(run.rows)):
        values = {key: value for key in row if key.startswith(_TEST) and (value := number(row, key)) is not None}
        if values:
            return values
    return {}


def _pruned(trials: tuple[Trial, ...]) -> tuple[Pruned, ...]:
    counts = Counter(trial.rule for trial in trials if trial.rule)
    example = {trial.rule: f"trial {trial.id}: {trial.reason}" for trial in trials}
    return tuple(Pruned(rule, count, example[rule]) for rule, count in counts.most_common())


def _warnings(runs: Sequence[Run]) -> tuple[Warned, ...]:
    given: dict[str, dict[str, str]] = {}
    for run in runs:
        for text in run.warnings:
            given.setdefault(kind_of(text), {}).setdefault(run.id, text)
    return tuple(Warned(next(iter(texts.values())), tuple(texts)) for texts in given.values())


def _trials(ids: Sequence[str]) -> str:
    """Trials by name, the first few of many."""
    rest = len(ids) - _NAMED
    named = ", ".join(ids[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
    return f"{'trial' if len(ids) == 1 else 'trials'} {named}"


def _value(value: Any) -> str:
    return layout.shown(value) if isinstance(value, float) else str(value)
