"""Parquet tables, as rows."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)  # what pyarrow raises where a table is missing or damaged


def rows(source: Path | bytes) -> list[dict[str, Any]]:
    """The rows of a file, or of what was in one; one of `UNREADABLE` is raised where there are none to be read."""
    # In this thread alone: a command that ends while Arrow starts its pool would be aborted.
    table = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source).read(use_threads=False)
    found: list[dict[str, Any]] = table.to_pylist()
    return found
