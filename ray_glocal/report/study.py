"""An experiment as a study of Optuna's, which its dashboard opens."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_glocal.errors import ArgumentError
from ray_glocal.names import HYPER
from ray_glocal.report.account import Trial, summarised
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.trial import Run, number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

DATABASES = (".db", ".sqlite", ".sqlite3")
_ORDERS = 30.0  # ratio of the largest value to the least beyond which a fraction's scale is called logarithmic
_STATES = {"done": "COMPLETE", "pruned": "PRUNED", "early": "PRUNED", "failed": "FAIL", "lost": "FAIL"}
_WAITING = "waiting"
_DIRECTIONS = {"min": "MINIMIZE", "max": "MAXIMIZE"}


def write_study(experiment: Experiment, file: Path) -> None:
    """Write an experiment as a study of Optuna's: a SQLite database, or a journal where `file` has another suffix.

    Parameters are start values; their distributions span what was tried, for results tell no space. Intermediate values
    are what was reported, a trial's value is the best of them, and adapted values stand among its user attributes. A
    trial that somebody else's scheduler ended early counts as pruned; a finished one without a finite value as failed.

    Args:
        experiment: The experiment.
        file: A new file: `.db`, `.sqlite` or `.sqlite3` for a database.

    Raises:
        ArgumentError: Optuna is not installed, or `file` exists, or its folder does not or may not be written to.
    """
    if find_spec("optuna") is None:
        remedy = "Install it with: pip install 'optuna>=4'"
        raise ArgumentError("optuna", "be asked for where optuna is installed", "no optuna", remedy)
    folder = file.absolute().parent
    if file.exists() or not folder.is_dir() or not os.access(folder, os.W_OK):
        remedy = "Studies are not added to: name a new file in a folder that is there and may be written to."
        raise ArgumentError("optuna", "be a new file", str(file), remedy)
    import optuna

    summaries = {trial.id: trial for trial in summarised(experiment).trials}
    distributions = _distributions(experiment.runs)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        direction = optuna.study.StudyDirection[_DIRECTIONS[experiment.mode]]
        study = optuna.create_study(storage=_storage(file), study_name=experiment.name, direction=direction)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([experiment.metric])  # what the dashboard's axes say
        study.set_user_attr("metric", experiment.metric)
        study.set_user_attr("path", experiment.path)
        study.add_trials(
            [_trial(i, run, summaries[run.id], experiment, distributions) for i, run in enumerate(experiment.runs)]
        )
    finally:
        optuna.logging.set_verbosity(verbosity)


def _storage(file: Path) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if file.suffix in DATABASES:
        return RDBStorage(f"sqlite:///{file.absolute()}")
    return JournalStorage(JournalFileBackend(str(file)))


def _distributions(runs: Sequence[Run]) -> dict[str, BaseDistribution]:
    """The distribution of each parameter that differs between trials."""
    values: dict[str, list[Any]] = {}
    for run in runs:
        for name, value in run.config.items():
            values.setdefault(name, []).append(_plain(value))
    varied = {name: tried for name, tried in values.items() if len({repr(value) for value in tried}) > 1}
    return {name: _distribution(tried) for name, tried in varied.items()}


def _distribution(tried: Sequence[Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if all(type(value) is int for value in tried):
        return IntDistribution(min(tried), max(tried))
    if all(type(value) in (int, float) and math.isfinite(value) for value in tried):
        low, high = float(min(tried)), float(max(tried))
        return FloatDistribution(low, high, log=low > 0 and high > _ORDERS * low)
    return CategoricalDistribution(tuple(dict.fromkeys(tried)))


def _plain(value: Any) -> Any:
    """A value as Optuna keeps it."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _trial(
    place: int, run: Run, summary: Trial, experiment: Experiment, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    known = {name: distributions[name] for name in run.config if name in distributions}
    state = TrialState[_STATES.get(summary.status, "WAITING" if summary.status == _WAITING else "RUNNING")]
    if state is TrialState.COMPLETE and summary.best is None:
        state = TrialState.FAIL
    begin, end = _times(run)
    return FrozenTrial(
        number=place,
        trial_id=place,
        state=state,
        value=summary.best if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        datetime_start=begin if state is not TrialState.WAITING else None,
        datetime_complete=end if state.is_finished() else None,
        params={name: _plain(run.config[name]) for name in known},
        distributions=known,
        user_attrs=_attributes(run, summary),
        system_attrs={},
        intermediate_values=_intermediate(run, experiment.metric),
    )


def _intermediate(run: Run, metric: str) -> dict[int, float]:
    values = ((number(row, run.clock), number(row, metric)) for row in run.rows)
    return {round(step): value for step, value in values if step is not None and value is not None}


def _attributes(run: Run, summary: Trial) -> dict[str, Any]:
    adapted = {
        key: value for row in run.rows[-1:] for key in row if key.startswith(HYPER) and (value := number(row, key))
    }
    ancestor = run.record.added.ancestor if run.record is not None else None
    return {
        "trial": run.id,
        **adapted,
        **{key: v for key, v in (("ancestor", ancestor), ("reason", summary.reason)) if v},
    }


def _times(run: Run) -> tuple[datetime, datetime]:
    """When a trial began and when its last result came; now where its results tell no time."""
    stamps = [
        (end, end - (number(row, "time_this_iter_s") or 0.0)) for row in run.rows if (end := number(row, "timestamp"))
    ]
    if not stamps:
        return datetime.now(), datetime.now()
    return _local(stamps[0][1]), _local(max(end for end, _ in stamps))


def _local(seconds: float) -> datetime:
    """Local time without its zone, as Optuna keeps it."""
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone().replace(tzinfo=None)
