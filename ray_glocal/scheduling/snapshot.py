"""Snapshots of the ledger on disk, each at the cost of what is new."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.ledger import Ledger

_CHUNK = 1 << 20  # bytes that are copied at a time


@dataclass(frozen=True)
class _Left:
    """A file as a snapshot left it.

    Args:
        path: Where it is.
        file: Its number, its bytes and when it was written: whoever changes it changes one of them.
        edition: Edition of the ledger in it.
        events: How many events it holds.
    """

    path: Path
    file: tuple[int, int, int]
    edition: int
    events: int


class LedgerSnapshot:
    """Writes a ledger into a file, whole or not at all, and encodes each event once.

    A snapshot begins with a copy of the one before, where that is still as it was left. Ten thousand trials of forty
    reports are a hundred megabytes, which to encode anew would halt the driver for ten seconds, and to copy for a tenth
    of one.

    Args:
        ledger: What is written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last: _Left | None = None

    def write(self, target: Path) -> None:
        """Write the ledger to `target`, in the place of what is there.

        Raises:
            OSError: It could not be written, as on a full disk; what was at `target` is still there.
        """
        unfinished = target.with_name(f"{target.name}.unfinished")
        try:
            with unfinished.open("wb") as file:
                known = self._copied(file)
                header = "" if file.tell() else journal.HEADER + "\n"
                file.write((header + journal.lines(self._ledger.since(known))).encode())
                file.flush()
                left = _Left(target, _identity(file), self._ledger.edition, len(self._ledger))
            unfinished.replace(target)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        self._last = left

    def _copied(self, file: BinaryIO) -> int:
        """Begin `file` with the last snapshot; how many events that are, none where it is gone or was changed."""
        last = self._last
        if last is None or last.edition != self._ledger.edition or not last.path.exists():
            return 0
        with last.path.open("rb") as before:
            if _identity(before) != last.file:
                return 0
            shutil.copyfileobj(before, file, _CHUNK)
        return last.events


def _identity(file: BinaryIO) -> tuple[int, int, int]:
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns
