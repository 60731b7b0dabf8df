"""One trial as Tune left it: its configuration and every result that it reported."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_glocal.report.folder import Folder
from ray_glocal.scheduling.ledger import Record

ANCESTOR = "glocal_ancestor"  # a key that earlier versions put into configurations
_WARNING = "warning"  # key under which a session reports its warnings, a line each
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A trial.

    Args:
        id: Tune's trial id.
        config: Its configuration, flat, names joined by "/".
        rows: Its results in the order in which they came, flat; steps that were run again after a failure come twice.
        status: Tune's word for how it ended; empty where Tune left none.
        record: What the ledger knows about it; None without a ledger.
    """

    id: str
    config: Mapping[str, Any]
    rows: tuple[Row, ...]
    status: str = ""
    record: Record | None = field(default=None, compare=False)

    @property
    def clock(self) -> str:
        """Key of its steps: `step`, or Tune's count of results where it reports none."""
        return "step" if any("step" in row for row in self.rows) else "training_iteration"

    @property
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
        told = (str(row.get(_WARNING) or "").splitlines() for row in self.rows)
        return tuple(dict.fromkeys(text for texts in told for text in texts))


def number(row: Row, key: str) -> float | None:
    """The number under `key`; None where there is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts with their names joined by "/"."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            out.update(flat(value, f"{prefix}{key}/"))
        else:
            out[f"{prefix}{key}"] = value
    return out


def read(folder: Folder) -> tuple[str, dict[str, Any], tuple[Row, ...]]:
    """Trial id (empty where no result tells it), configuration and results in a trial's folder."""
    files = folder.files()
    if "result.json" in files:
        rows = _lines(folder.content("result.json"))
    elif "progress.csv" in files:
        rows = _table(folder.content("progress.csv"))
    else:
        rows = []
    config = _config(folder, files, rows)
    trial = next((str(row["trial_id"]) for row in rows if "trial_id" in row), "")
    return trial, config, tuple({k: v for k, v in row.items() if not k.startswith("config/")} for row in rows)


def _config(folder: Folder, files: list[str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    config = _json(folder.content("params.json")) if "params.json" in files else None
    if isinstance(config, dict):
        told = flat(config)
    else:
        told = {k.removeprefix("config/"): v for row in rows[:1] for k, v in row.items() if k.startswith("config/")}
    return {name: value for name, value in told.items() if name.split("/")[0] != ANCESTOR}


def _lines(content: bytes) -> list[dict[str, Any]]:
    rows = [_json(line) for line in content.splitlines()]
    return [flat(row) for row in rows if isinstance(row, dict)]


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
