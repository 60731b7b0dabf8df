"""The trace: an append-only table of what every hypergradient measured, foretold and decided."""

import os
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_glocal import tables
from ray_glocal.errors import CheckpointError
from ray_glocal.names import (
    BACK_TO,
    DEVIATION,
    ENTRIES,
    FORECAST,
    GATE,
    HYPERPARAMETER,
    LOCAL,
    REASON,
    STEP,
    TRAJECTORY,
    VALUE,
)
from ray_glocal.session.tuning import MOST_VALUES

SCHEMA = pa.schema(
    [
        (STEP, pa.int64()),
        (HYPERPARAMETER, pa.string()),
        (VALUE, pa.float64()),
        (LOCAL, pa.float64()),
        (FORECAST, pa.float64()),
        (DEVIATION, pa.float64()),
        (GATE, pa.string()),
        (REASON, pa.string()),
        (TRAJECTORY, pa.list_(pa.float64())),
        (BACK_TO, pa.int64()),
        (ENTRIES, pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class Row:
    """One hyperparameter at one step; derivatives are of the validation loss per unit of its coordinate.

    `trajectory` is what a differentiated window saw of it and was forecast from: its local hypergradient over the last
    1, 2, .. K steps. Others have none. `back_to` is set where training went back: to the weights of that step.
    `entries` holds the values of a hyperparameter of many entries, of which the other columns tell norms: in each of
    its rows, or in none where they are more than a trace holds.
    """

    step: int
    hyperparameter: str
    value: float
    local: float
    forecast: float
    deviation: float
    gate: str
    reason: str
    trajectory: list[float] | None = None
    back_to: int | None = None
    entries: "array[float] | None" = None


class Trace:
    """Rows in memory and, where a folder is given, one parquet part in it per step that has any.

    Args:
        folder: Where to write parts; read them together with `pyarrow.parquet.read_table(folder)`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self.rows: list[Row] = []
        self._held: Counter[str] = Counter()  # values in `entries`, by hyperparameter
        self._without: set[str] = set()  # hyperparameters of which there are too many, or a release before had none
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)

    def begin(self) -> None:
        """Empty the folder of what a run wrote that was lost before its first checkpoint."""
        self._rewrite()

    def append(self, rows: list[Row]) -> None:
        """Add rows of the present step."""
        self._add(rows)
        if rows:
            step = rows[0].step
            # A step may append twice, an outer step and a retreat from the report that follows it.
            present = list(takewhile(lambda row: row.step == step, reversed(self.rows)))
            self._write_part(step, present[::-1])

    def table(self) -> Any:
        """All rows as a `pyarrow.Table`, oldest first."""
        return _table(self.rows)

    def save(self, file: Path) -> None:
        """Write all rows to one parquet file, whole or not at all."""
        _write(self.rows, file)

    def load(self, file: Path, step: int) -> None:
        """Continue after `step` from a saved trace; what a lost run wrote later is removed.

        Raises:
            CheckpointError: There is none, or it cannot be read.
        """
        saved = read(file, step)
        self.rows, self._held = [], Counter()
        self._without = {row.hyperparameter for row in saved if row.hyperparameter[0] == "|" and row.entries is None}
        self._add(saved)
        self._rewrite()

    def _add(self, rows: list[Row]) -> None:
        """Hold further rows; where their entries are too many, those go of the hyperparameter that has the most."""
        self.rows += rows
        for row in rows:
            self._held[row.hyperparameter] += len(row.entries or ())
        while self._held.total() > MOST_VALUES:
            ((largest, _),) = self._held.most_common(1)
            self._without.add(largest)
            del self._held[largest]
        if self._without:
            self.rows = [self._bare(row) for row in self.rows]

    def _bare(self, row: Row) -> Row:
        held = row.entries is None or row.hyperparameter not in self._without
        return row if held else replace(row, entries=None)

    def _rewrite(self) -> None:
        """Make the folder hold the present rows and no others."""
        if not self._folder:
            return
        for part in self._folder.glob("*step-*.parquet"):
            part.unlink()
        for step, rows in groupby(self.rows, key=lambda row: row.step):
            self._write_part(step, list(rows))

    def _write_part(self, step: int, rows: list[Row]) -> None:
        if self._folder:
            _write(rows, self._folder / f"step-{step:012d}.parquet")


def read(file: Path, step: int) -> list[Row]:
    """The rows of a saved trace up to a step.

    Raises:
        CheckpointError: There is none, or it cannot be read.
    """
    try:
        saved = [_row(row) for row in tables.rows(file)]
        return [row for row in saved if row.step <= step]
    except (*tables.UNREADABLE, TypeError) as error:  # TypeError: other columns than ours, or none of its steps known
        remedy = "Pass a folder that `GlocalSession.save` or `checkpoint` wrote."
        raise CheckpointError("source", f"hold a readable file {file.name!r}", str(file.parent), remedy) from error


def _row(saved: dict[str, Any]) -> Row:
    entries = saved.get(ENTRIES)
    return Row(**{**saved, ENTRIES: None if entries is None else array("d", entries)})


def _table(rows: list[Row]) -> Any:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)


def _write(rows: list[Row], file: Path) -> None:
    unfinished = file.with_name("." + file.name)  # readers of a folder pass over names with a dot
    texts = [HYPERPARAMETER, GATE, REASON]  # a dictionary of numbers, which differ, takes time and memory for nothing
    pq.write_table(_table(rows), unfinished, use_dictionary=texts)
    os.replace(unfinished, file)
