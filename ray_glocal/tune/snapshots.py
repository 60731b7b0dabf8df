"""Snapshots of an experiment: which its driver has saved, and which of them have reached the storage."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyarrow.fs import LocalFileSystem

from ray_glocal.tune._compat import Driver, arrived, driver_of, whole
from ray_glocal.tune.storage import UNREADABLE

_PART = 1 << 20  # bytes at a time of files that are compared


@dataclass(frozen=True)
class Moment:
    """A moment in the life of a driver, between its snapshots.

    Args:
        copies: Copies of snapshots to the storage that had begun.
        saved: Tune's time of the last snapshot that had been saved, of which it may have begun none.
    """

    copies: int
    saved: float


class Snapshots:
    """What a driver has saved of its experiment, and what of it has reached the storage.

    Snapshots are saved and copies of them begun by the thread that calls hooks, in one go.

    Args:
        controller: Tune's controller, or what hooks get of it.
    """

    def __init__(self, controller: object) -> None:
        self._controller = weakref.ref(whole(controller))
        self._lock = threading.Lock()  # hooks and threads look
        self._copy: Any = None  # Tune's record of the last that was seen
        self._copies = 0  # that were seen to have begun
        self._arrived = 0  # the number of the last that is known to have been completed
        self._known = float("-inf")  # Tune's time of a snapshot that was found in the storage
        self._compared: tuple[float, float | None] | None = None

    @cached_property
    def _driver(self) -> Driver:
        """First asked for in a hook, while there is a controller."""
        return driver_of(self._controller())

    @property
    def over(self) -> bool:
        """Whether the controller is no more."""
        return self._controller() is None

    @property
    def come(self) -> bool:
        """Whether there will be any; a simulated experiment saves none, nor does one that is told never to."""
        return self._driver.period < float("inf")

    def now(self) -> Moment:
        """The present moment, in a hook."""
        self._watch()
        return Moment(self._copies, self._driver.saved)

    def hold(self, moment: Moment) -> bool:
        """Whether a snapshot that was saved after a moment is known to be in the storage."""
        return moment.copies < self._arrived or moment.saved < self._known

    def look(self) -> None:
        """Find out what has reached the storage; not in a hook, for files are read at times."""
        self._watch()
        driver = self._driver
        state = driver.saved, driver.synced
        if driver.copy is None and state != self._compared:
            # At the end of an experiment Tune waits for a copy that nobody may have seen, and forgets it.
            if self._same() and state[0] == driver.saved:
                self._known = state[0]
            self._compared = state

    def _watch(self) -> None:
        with self._lock:
            copy = self._driver.copy
            self._note_arrival()
            if copy is not None and copy is not self._copy:
                self._copies, self._copy = self._copies + 1, copy
                self._note_arrival()

    def _note_arrival(self) -> None:
        """Note whether the last copy is complete."""
        if self._copy is not None and arrived(self._copy, self._driver.syncer.sync_timeout):
            self._arrived = self._copies

    def _same(self) -> bool:
        """Whether the storage holds what was saved last."""
        driver = self._driver
        try:
            with (
                LocalFileSystem().open_input_stream(driver.here) as here,
                driver.filesystem.open_input_stream(driver.there) as there,
            ):
                return _equal(here, there)
        except UNREADABLE:
            return False


def _equal(one: Any, other: Any) -> bool:
    while True:
        part = one.read(_PART)
        if part != other.read(_PART):
            return False
        if not part:
            return True
