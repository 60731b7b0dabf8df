"""Parquet tables, as rows."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)  # what pyarrow raises where a table is missing or damaged


def rows(source: Path | bytes, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows of a file, or of what was in one; one of `UNREADABLE` is raised where there are none to be read.

    Args:
        source: The file, or its content.
        without: Columns that are passed over.
    """
    # In this thread alone: a command that ends while Arrow starts its pool would be aborted.
    file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source)
    columns = [name for name in file.schema_arrow.names if name not in without]
    found: list[dict[str, Any]] = file.read(columns=columns, use_threads=False).to_pylist()
    return found
