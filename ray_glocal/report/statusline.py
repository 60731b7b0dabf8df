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
        self._written = float("-inf")
        self._pending = ""  # the status that is on the terminal now

    def line(self, text: str) -> None:
        """Write a line that stays."""
        if self._terminal:
            self._write(f"{_CLEAR}{text}\n{self._fitting(self._pending)}")
        else:
            self._write(text + "\n")

    def status(self, text: str, *, last: bool = False) -> None:
        """Show `text` as the status, if it is time.

        Args:
            text: The status.
            last: Whether no other will follow: it is shown in any case, and stays.
        """
        now = time.monotonic()
        if now - self._written < (_REFRESH if self._terminal else self._every) and not last:
            return
        self._written = now
        if self._terminal:
            self._pending = "" if last else text
            self._write(_CLEAR + (text + "\n" if last else self._fitting(text)))
        else:
            self._write(text + "\n")

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
        """Without the stream, which belongs to this process: Tune pickles callbacks."""
        return {**self.__dict__, "_stream": None}
