"""Lines that stay and one that changes: refreshed in place on a terminal, repeated now and then in a log."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Any, TextIO

from ray_glocal.report.layout import cut

_REFRESH = 0.2  # seconds between refreshes on a terminal: more often only flickers
_CLEAR = "\r\x1b[K"  # to the beginning of the line, and erase it


class StatusLine:
    """Writes lines, and keeps one status below them.

    Args:
        every: Seconds between two statuses where there is no terminal, and every status stays.
        stream: Where to write; None for the standard output of the moment.
    """

    def __init__(self, every: float, stream: TextIO | None = None) -> None:
        self._every = every
        self._stream = stream
        self._written = time.monotonic()  # nothing is worth a status yet
        self._pending = ""  # the status that is on the terminal now

    def line(self, text: str) -> None:
        """Write a line that stays."""
        if self._terminal:
            self._write(f"{_CLEAR}{text}\n{self._fitting(self._pending)}")
        else:
            self._write(text + "\n")

    @property
    def due(self) -> bool:
        """Whether it is time for another status."""
        return time.monotonic() - self._written >= (_REFRESH if self._terminal else self._every)

    def status(self, text: str) -> None:
        """Show `text` as the status: in the place of the one before on a terminal, below it elsewhere."""
        self._written = time.monotonic()
        if self._terminal and text != self._pending:
            self._pending = text
            self._write(_CLEAR + self._fitting(text))
        elif not self._terminal:
            self._write(text + "\n")

    def close(self, text: str) -> None:
        """Leave `text` as the last status."""
        self._pending = ""
        self.line(text)

    @property
    def _terminal(self) -> bool:
        out = self._out
        return bool(getattr(out, "isatty", lambda: False)()) and os.environ.get("TERM") != "dumb"

    @property
    def _out(self) -> TextIO:
        return self._stream if self._stream is not None else sys.stdout

    def _fitting(self, text: str) -> str:
        """`text` on one line of the terminal: what wraps could not be erased."""
        return cut(text, shutil.get_terminal_size().columns - 1)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def __getstate__(self) -> dict[str, Any]:
        """Without the stream and the clock, which belong to this process: Tune pickles callbacks."""
        return {**self.__dict__, "_stream": None, "_written": float("-inf")}
