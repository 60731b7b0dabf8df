"""The ledger's own file in an experiment's folder, for a scheduler whose searcher does not save it.

And what can be read of a ledger's file after an accident, whoever wrote it.
"""

from __future__ import annotations

import logging
import shutil
import weakref
from pathlib import Path
from typing import Any, TextIO

from ray_glocal.errors import ArgumentError
from ray_glocal.names import LEDGER_FILE
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.ledger import Ledger

logger = logging.getLogger(__name__)


class LedgerFile:
    """Grows with the ledger, event by event; each is handed to the system before the hook that made it returns.

    Args:
        folder: The experiment's folder on the driver.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER_FILE
        self._written = 0
        self._size = 0  # bytes of whole records: a write that failed half-way leaves more than these
        self._file: TextIO | None = None  # kept open: a result costs a write, not a search for the file

    def append(self, ledger: Ledger) -> None:
        """Write what is new. A full disk costs the memory of a restore, not the run: it is said, and tried again."""
        if self._written and not self._path.exists():
            self._written = 0  # somebody removed it: write it whole
        try:
            file = self._opened()
            file.write(
                (journal.HEADER + "\n" if self._written == 0 else "") + journal.lines(ledger.since(self._written))
            )
            file.flush()
            self._size = file.tell()
        except OSError as error:
            logger.error("The ledger could not be written to %s: %s", self._path, error)
            self.close()
            return
        self._written = len(ledger)

    def load(self) -> Ledger:
        """The ledger that a restored experiment left here, or what is left of it; an empty one where it left none."""
        self.close()
        self._written = 0
        return recovered(self._path) if self._path.exists() else Ledger()

    def close(self) -> None:
        """Let go of the file; the next event opens it again."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:  # what could not be flushed is written again
                logger.error("The ledger's file %s could not be closed: %s", self._path, error)
            self._file = None

    def _opened(self) -> TextIO:
        if self._file is None or self._written == 0:
            self.close()
            self._path.parent.mkdir(parents=True, exist_ok=True)  # Tune makes it later than it adds the first trial
            self._file = self._path.open("a" if self._written else "w", encoding="utf-8")
            if self._written:
                self._file.truncate(self._size)
            weakref.finalize(self, self._file.close)  # closing twice does no harm
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which cannot be copied."""
        return {**vars(self), "_file": None}


def recovered(path: Path) -> Ledger:
    """The ledger in `path`, or what is left of it; what is lost is said, and the file kept aside.

    Nothing is raised for what is in the file: Tune would run the whole experiment again.
    """
    # A journal is pure ASCII. Where it is not it was damaged, and no JSON string may hold a NUL.
    text = path.read_bytes().decode("ascii", "replace").replace("\ufffd", "\0")
    try:
        restored = journal.read(text)
    except ArgumentError as error:
        restored = _salvaged(path, text, error)
    if restored.torn:
        logger.warning("%s: %s", path, restored.torn)
    return restored


def _salvaged(path: Path, text: str, error: ArgumentError) -> Ledger:
    aside = path.with_suffix(".damaged")
    try:
        shutil.copyfile(path, aside)
    except OSError as refusal:
        logger.error("The damaged ledger %s could not be kept aside: %s", path, refusal)
    try:
        restored = journal.salvage(text)
    except ArgumentError:
        logger.error("The memory of earlier decisions is lost; it is kept as %s. %s", aside, error)
        return Ledger()
    logger.error("Part of the memory of earlier decisions is lost; it is kept as %s. %s", aside, error)
    return restored
