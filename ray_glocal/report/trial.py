"""One trial as Tune left it: its configuration and every result that it reported."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ray_glocal.names import AT_BOUND, STEP, TIMESTEPS, TRAINING_ITERATION, WARNING
from ray_glocal.report.ending import FAILED, ending
from ray_glocal.report.folder import RemoteFolder
from ray_glocal.scheduling.ledger import Record

ANCESTOR = "glocal_ancestor"  # a key that earlier versions put into configurations
ERROR_FILE = "error.txt"
RESULTS = frozenset({"result.json", "progress.csv"})  # files of Tune's loggers
# What Tune itself puts into results:
_TIMES = ("timestamp", "time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore")
_COUNTS = (TRAINING_ITERATION, TIMESTEPS, "timesteps_since_restore", "timesteps_this_iter", "episodes_total")
TUNES = frozenset((*_TIMES, *_COUNTS, "pid"))
Row = Mapping[str, Any]
_PLAIN = frozenset({bool, float, int, str})  # of which it is known without asking that they hold nothing
_FIGURE = re.compile(r"\d[\d.,]*")


@dataclass(frozen=True)
class Ancestor:
    """The trial that another one started from.

    Args:
        trial: Its id.
        checkpoint: Address of the weights that it handed down; None where it handed down values alone.
    """

    trial: str
    checkpoint: str | None


@dataclass(frozen=True)
class Run:
    """A trial.

    Args:
        id: Tune's trial id.
        config: Its configuration, flat, names joined by "/".
        rows: Its results in the order in which they came, flat; steps that were run again after a failure come twice.
        status: Tune's word for how it ended; empty where Tune left none.
        record: What the ledger knows about it; None without a ledger.
        folder: Where it lies.
        ancestor: The trial that it started from, if any.
        error: What Tune wrote of its failures; empty where it had none.
        logged: Whether one of Tune's loggers kept its results; `ray_glocal.report.recorded` tells what is known else.
    """

    id: str
    config: Mapping[str, Any]
    rows: tuple[Row, ...]
    status: str = ""
    record: Record | None = field(default=None, compare=False)
    folder: RemoteFolder | None = field(default=None, compare=False, repr=False)
    ancestor: Ancestor | None = None
    error: str = field(default="", repr=False)
    logged: bool = True

    @property
    def failed(self) -> bool:
        """Whether an error ended it."""
        return self.ending == FAILED

    @property
    def ending(self) -> str:
        """How it ended, whether pruned or not; see `ray_glocal.report.ending`."""
        return ending(self.record, self.status, results=bool(self.rows), error=bool(self.error))

    @cached_property
    def clock(self) -> str:
        """Key of its steps: `step`, or Tune's count of results where it reports none."""
        return STEP if any(STEP in row for row in self.rows) else TRAINING_ITERATION

    @cached_property
    def steps(self) -> float:
        """The furthest that it came."""
        return max((value for row in self.rows if (value := number(row, self.clock)) is not None), default=0)

    def best(self, metric: str, sign: float) -> Row | None:
        """The row with the best finite value of `metric`, the first of equals; None where there is none.

        Args:
            metric: Key of the value.
            sign: 1 where small is good, -1 where large is.
        """
        able = [row for row in self.rows if (value := number(row, metric)) is not None and math.isfinite(value)]
        return min(able, key=lambda row: sign * float(row[metric]), default=None)

    def last(self, key: str) -> float | None:
        """The value of `key` that was reported last."""
        return next((value for row in reversed(self.rows) if (value := number(row, key)) is not None), None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning that its session gave, once, in order; a run that began anew may have lost earlier ones."""
        return tuple(dict.fromkeys(text for row in self.rows for text in warnings_of(row)))

    @property
    def bounds(self) -> tuple[str, ...]:
        """What its session said of hyperparameters that ended at a bound."""
        return tuple(text for text in self.warnings if AT_BOUND in text)


def warnings_of(row: Row) -> tuple[str, ...]:
    """The warnings that a session's report tells, all so far."""
    return tuple(str(row.get(WARNING) or "").splitlines())


def kind_of(warning: str) -> str:
    """A warning without its figures, in which the trials that give it differ."""
    return _FIGURE.sub("#", warning)


def number(row: Row, key: str) -> float | None:
    """The number under `key`; None where there is none."""
    value = row.get(key)
    if type(value) is float:  # most are, and a report of a thousand trials asks a million times
        return value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts with their names joined by "/"."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        if type(value) not in _PLAIN and isinstance(value, Mapping):
            out.update(flat(value, f"{prefix}{key}/"))
        else:
            out[f"{prefix}{key}"] = value
    return out


def read(folder: RemoteFolder, record: Callable[[str], Record | None], name: str, status: str) -> Run:
    """The trial in a folder.

    Args:
        folder: Where it lies.
        record: What the ledger knows about a trial, by its id.
        name: Its id, where no result tells it.
        status: Tune's word for how it ended.
    """
    files = folder.files()
    if "result.json" in files:
        rows = _lines(folder.content("result.json"))
    elif "progress.csv" in files:
        rows = _table(folder.content("progress.csv"))
    else:
        rows = []
    recorded = _config(folder, files, rows)
    trial = next((str(row["trial_id"]) for row in rows if "trial_id" in row), name)
    known = record(trial)
    config = {name: value for name, value in recorded.items() if name.split("/")[0] != ANCESTOR}
    results = tuple({k: v for k, v in row.items() if not k.startswith("config/")} for row in rows)
    logged = bool(RESULTS & set(files))
    return Run(
        trial, config, results, status, known, folder, ancestor_of(recorded, known), error_of(folder, files), logged
    )


def error_of(folder: RemoteFolder, files: Collection[str]) -> str:
    """What Tune wrote of the failures of the trial in a folder that holds `files`; empty where it had none."""
    return folder.content(ERROR_FILE).decode("utf-8", errors="replace") if ERROR_FILE in files else ""


def ancestor_of(config: Mapping[str, Any], record: Record | None) -> Ancestor | None:
    """The ancestor that the ledger knows, or a configuration of an earlier version names."""
    if record is not None and record.added.ancestor:
        return Ancestor(record.added.ancestor, record.added.weights or config.get(f"{ANCESTOR}/checkpoint"))
    if config.get(f"{ANCESTOR}/trial"):
        return Ancestor(str(config[f"{ANCESTOR}/trial"]), config.get(f"{ANCESTOR}/checkpoint"))
    return None


def _config(folder: RemoteFolder, files: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    config = _json(folder.content("params.json")) if "params.json" in files else None
    if isinstance(config, dict):
        return flat(config)
    return {k.removeprefix("config/"): v for row in rows[:1] for k, v in row.items() if k.startswith("config/")}


def _lines(content: bytes) -> list[dict[str, Any]]:
    rows = [row for line in content.splitlines() if isinstance(row := _json(line), dict)]
    for row in rows[1:]:
        row.pop("config", None)  # each row repeats it: flattening it once is enough
    return [flat(row) for row in rows]


def _table(content: bytes) -> list[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(content.decode("utf-8", errors="replace")))
    return [{k: _parsed(v) for k, v in row.items() if k is not None and v not in (None, "")} for row in rows]


def _parsed(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _json(content: bytes) -> Any:
    """What `content` says; None where a crash tore it."""
    try:
        return json.loads(content)
    except ValueError:
        return None
