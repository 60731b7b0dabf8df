"""What the page shows, as frozen data: also what `report --json` writes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ray_glocal.names import HYPER
from ray_glocal.report.account import Summary, Warned
from ray_glocal.report.cost import TotalCost
from ray_glocal.report.ending import GOING
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.layout import shown
from ray_glocal.report.page.calibration import Foretold, foretold
from ray_glocal.report.page.curves import Curve, curves
from ray_glocal.report.page.decisions import Decided, decisions
from ray_glocal.report.page.figures import counted, rounded
from ray_glocal.report.page.forecasts import made
from ray_glocal.report.page.hyperparameters import Path, paths
from ray_glocal.report.page.importance import Importance, importance
from ray_glocal.report.page.life import Life, lives
from ray_glocal.report.page.price import Spent, spent
from ray_glocal.report.page.spectra import Modes, spectra
from ray_glocal.report.traces import traces
from ray_glocal.report.trial import number

VERSION = 1


@dataclass(frozen=True)
class Contents:
    """Everything that the page shows. Series have five digits; None stands for what is unknown or not finite.

    Args:
        version: Of these keys: it rises when one changes its meaning or goes.
        name: Name of the experiment's folder.
        path: Where it lies.
        metric: Key of the value that is optimised.
        mode: "min" or "max".
        headline: What came out, in a sentence.
        trials: Every trial (`Life`), the best first.
        curves: What each trial reported (`Curve`), by trial.
        adapted: Last value of each adapted hyperparameter, by trial and name.
        hyperparameters: Where each of them went (`Path`), by trial and name, the best trials first.
        calibration: Forecasts of trials that came to their end (`Foretold`).
        spectra: Modes of windows of the best trials that recorded any (`Modes`).
        importance: What each choice alone says about which trials do well (`Importance`), the most telling first.
        decisions: Every decision with its reason (`Decided`).
        cost: What all trials cost (`TotalCost`).
        spent: The best value so far against what was paid by then (`Spent`).
        warnings: Every warning of a session and the trials that gave it (`Warned`).
        notes: What is not recorded, in sentences.
    """

    version: int
    name: str
    path: str
    metric: str
    mode: str
    headline: str
    trials: tuple[Life, ...]
    curves: Mapping[str, Curve]
    adapted: Mapping[str, Mapping[str, float]]
    hyperparameters: Mapping[str, Mapping[str, Path]]
    calibration: tuple[Foretold, ...]
    spectra: tuple[Modes, ...]
    importance: tuple[Importance, ...]
    decisions: tuple[Decided, ...]
    cost: TotalCost
    spent: Spent
    warnings: tuple[Warned, ...]
    notes: tuple[str, ...]


def contents(experiment: Experiment, summary: Summary) -> Contents:
    """Compute all that the page shows of an experiment and its account."""
    forecasts, seen = made(experiment), traces(experiment.runs)
    ranked = lives(experiment, summary)
    ends = _ends(experiment)
    adapted = dict.fromkeys([name for each in ends.values() for name in each])
    started = [name for run in experiment.runs if run.record is not None for name in run.record.added.start]
    return Contents(
        version=VERSION,
        name=summary.name,
        path=summary.path,
        metric=summary.metric,
        mode=summary.mode,
        headline=_headline(summary),
        trials=ranked,
        curves=curves(experiment, forecasts),
        adapted=ends,
        hyperparameters=paths(experiment, ranked, seen),
        calibration=foretold(experiment, ranked, forecasts),
        spectra=spectra(ranked, seen),
        importance=importance(ranked, [*adapted, *started]),
        decisions=decisions(experiment, ranked),
        cost=summary.cost,
        spent=spent(experiment),
        warnings=summary.warnings,
        notes=(*(f"Failed: {error}." for error in summary.errors), *summary.notes),
    )


def plain(value: Any) -> dict[str, Any]:
    """The contents, or a part of them, as JSON takes them: dicts, lists, numbers, text and None."""
    return {column.name: _plain(getattr(value, column.name)) for column in fields(value)}


def _plain(node: Any) -> Any:
    if isinstance(node, float):
        return node if math.isfinite(node) else None
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    return plain(node) if is_dataclass(node) else node


def _ends(experiment: Experiment) -> dict[str, dict[str, float]]:
    """The last value of each adapted hyperparameter, by trial."""
    out: dict[str, dict[str, float]] = {}
    for run in experiment.runs:
        keys = [key for row in run.rows[-1:] for key in row if key.startswith(HYPER)]
        values = {key.removeprefix(HYPER): rounded(number(run.rows[-1], key)) for key in keys}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            out[run.id] = known
    return out


def _headline(summary: Summary) -> str:
    pruned = sum(trial.status == "pruned" for trial in summary.trials)
    failed = sum(trial.status in ("failed", "lost") for trial in summary.trials)
    running = sum(trial.status in GOING for trial in summary.trials)
    parts = [counted(len(summary.trials), "trial")]
    parts += [f"{n:,} {word}" for n, word in ((pruned, "pruned"), (failed, "failed"), (running, "going on")) if n]
    best = summary.best
    end = f"; best {summary.metric} {shown(best.best)}" if best is not None else f"; no finite {summary.metric} yet"
    return ", ".join(parts) + end
