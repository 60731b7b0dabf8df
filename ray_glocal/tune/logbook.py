"""The logbook of an experiment: its ledger, and the file that it grows in where no searcher saves it."""

from __future__ import annotations

from pathlib import Path

from ray_glocal.scheduling.ledger import Event, Ledger
from ray_glocal.tune.ledger_file import LedgerFile


class Logbook:
    """A ledger of one's own, until a searcher's is shared."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._file: LedgerFile | None = None  # none before an experiment begins, or where the searcher saves the ledger

    def share(self, ledger: Ledger) -> None:
        """Remember in the ledger of a searcher, which saves it."""
        self.ledger, self._file = ledger, None

    def begin(self, folder: Path) -> None:
        """Keep what an experiment will bring in a file in its folder, after what a restored one left there.

        Nothing else is known of an experiment that begins, for the scheduler may have served another.
        """
        self._file = LedgerFile(folder)
        self.ledger.replace(self._file.load())
        if len(self.ledger):
            self._file.append(self.ledger)  # whole again

    def record(self, event: Event) -> bool:
        """Record `event` and journal it; whether it was new."""
        fresh = self.ledger.record(event)
        if fresh and self._file is not None:
            self._file.append(self.ledger)
        return fresh
