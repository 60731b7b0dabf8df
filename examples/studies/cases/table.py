"""Cases as rows of a table, and back from its parquet files."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ray_glocal.errors import ArgumentError
from ray_glocal.validation.case import Case

ARRAYS = ("values", "forward", "lag", "earlier", "truths", "final_losses", "directions", "differences", "rates")


def row_of(case: Case) -> dict[str, Any]:
    """A case as plain numbers, text and lists: one row of a table."""
    row = {f.name: getattr(case, f.name) for f in fields(case)}
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}
    return plain | {"about": dict(case.about) or None}  # parquet knows no empty mapping


def case_of(row: Mapping[str, Any]) -> Case:
    """Inverse of `row_of`; what else the row holds is left out. Earlier recordings hold the loss in a pair."""
    kept: dict[str, Any] = {f.name: row.get(f.name, ()) for f in fields(Case)}
    kept["loss"] = row["loss"] if "loss" in row else row["losses"][1]
    kept["about"] = {name: text for name, text in (row["about"] or {}).items() if text is not None}
    q, length = len(kept["labels"]), len(kept["lag"])
    empty = {"forward": (0, q), "earlier": (0, length, q), "directions": (0, q), "differences": (0, 0)}
    for name in ARRAYS:
        array = np.array(kept[name], dtype=np.float64)
        kept[name] = array if array.size else array.reshape(empty.get(name, array.shape))
    for name in ("labels", "earlier_starts", "step_sizes"):
        kept[name] = tuple(kept[name])
    return Case(**kept)


def load_cases(folder: str | Path) -> list[Case]:
    """Read every case in the parquet files of a folder, its subfolders included; or of one such file.

    A recording that is still at work may be read at any time: its files appear whole. A case that lies in several
    files is read once.

    Raises:
        ArgumentError: There is no parquet file.
    """
    place = Path(folder)
    files = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    if not files:
        raise ArgumentError("folder", "hold parquet files of cases", str(folder), "Record some first.")
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    once = {(row["run"], row["start"]): row for row in rows if "truths" in row}
    return [case_of(row) for row in once.values()]
