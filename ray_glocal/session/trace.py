"""The trace: an append-only table of what every window measured, foretold and decided."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("hyperparameter", pa.string()),
        ("value", pa.float64()),
        ("local", pa.float64()),
        ("forecast", pa.float64()),
        ("deviation", pa.float64()),
        ("gate", pa.string()),
        ("reason", pa.string()),
    ]
)


@dataclass(frozen=True)
class Row:
    """One hyperparameter in one window; derivatives are of the validation loss per unit of its coordinate."""

    step: int
    hyperparameter: str
    value: float
    local: float
    forecast: float
    deviation: float
    gate: str
    reason: str


class Trace:
    """Rows in memory and, where a folder is given, one parquet part per window in it.

    Args:
        folder: Where to write parts; read them together with `pyarrow.parquet.read_table(folder)`.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self.rows: list[Row] = []
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)

    def append(self, rows: list[Row]) -> None:
        """Add the rows of one step."""
        self.rows += rows
        if self._folder and rows:
            pq.write_table(_table(rows), self._folder / _part(rows[0].step))

    def table(self) -> pa.Table:
        """All rows, oldest first."""
        return _table(self.rows)

    def save(self, file: Path) -> None:
        """Write all rows to one parquet file."""
        pq.write_table(self.table(), file)

    def load(self, file: Path) -> None:
        """Continue from a saved trace; parts that a lost run wrote after it are removed."""
        self.rows = [Row(**row) for row in pq.read_table(file).to_pylist()]
        if self._folder:
            for part in self._folder.glob("step-*.parquet"):
                part.unlink()
            for step in sorted({row.step for row in self.rows}):
                pq.write_table(_table([row for row in self.rows if row.step == step]), self._folder / _part(step))


def _table(rows: list[Row]) -> Any:
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)


def _part(step: int) -> str:
    return f"step-{step:012d}.parquet"
