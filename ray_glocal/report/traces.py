"""The traces that sessions left in their checkpoints: what each window measured, foretold and decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray_glocal import tables
from ray_glocal.names import CHECKPOINT, ENTRIES, TRACE_FILE
from ray_glocal.report.folder import RemoteFolder
from ray_glocal.report.trial import Run

_READERS = 8  # a storage elsewhere answers each request late


def traces(runs: Sequence[Run]) -> dict[str, tuple[Mapping[str, Any], ...]]:
    """Rows of the newest trace of each trial that has one, by trial, in the order in which they were written.

    Without the values of hyperparameters of many entries, which may be thousands a row.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        found = zip(runs, pool.map(_newest, runs), strict=True)
        return {run.id: rows for run, rows in found if rows}


def _newest(run: Run) -> tuple[Mapping[str, Any], ...]:
    if run.folder is None:
        return ()
    checkpoints = [folder for folder in run.folder.folders() if folder.name.startswith(CHECKPOINT)]
    for folder in reversed(checkpoints):
        rows = _read(folder)
        if rows:
            return rows
    return ()


def _read(folder: RemoteFolder) -> tuple[Mapping[str, Any], ...]:
    """The rows in a checkpoint; none where a running trial has not written it whole, or has removed it since."""
    try:
        content = folder.content(TRACE_FILE) if TRACE_FILE in folder.files() else b""
        return tuple(tables.rows(content, without=(ENTRIES,))) if content else ()
    except tables.UNREADABLE:
        return ()
