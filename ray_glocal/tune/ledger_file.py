"""The ledger's own file in an experiment's folder, for a scheduler whose searcher does not save it."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any, TextIO

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.ledger import Ledger

LEDGER_FILE = "glocal-ledger.json"  # root-level *.json: the only kind of file that Tune brings back on restore

logger = logging.getLogger(__name__)


class LedgerFile:
    """Grows with the ledger, event by event; each is handed to the system before the hook that made it returns.

    Args:
        folder: The experiment's folder on the driver.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER_FILE
        self._written = 0
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
        except OSError as error:
            logger.error("The ledger could not be written to %s: %s", self._path, error)
            self.close()
            return
        self._written = len(ledger)

    def load(self) -> Ledger:
        """The ledger that a restored experiment left here; an empty one where it left none.

        A damaged one is set aside, and said: raising here would make Tune run it all again.
        """
        self.close()
        self._written = 0
        if not self._path.exists():
            return Ledger()
        try:
            restored = journal.read(self._path.read_text(encoding="utf-8"))
        except ArgumentError as error:
            aside = self._path.with_suffix(".damaged")
            self._path.replace(aside)
            logger.error("The memory of earlier decisions is lost; it is kept as %s. %s", aside, error)
            return Ledger()
        if restored.torn:
            logger.warning("%s: %s", self._path, restored.torn)
        return restored

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
            weakref.finalize(self, self._file.close)  # closing twice does no harm
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file, which cannot be copied."""
        return {**vars(self), "_file": None}
