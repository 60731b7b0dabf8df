"""The recorder: inner steps that make a window."""

from collections.abc import Sequence
from typing import Any

from ray_glocal.hypergradient import Problem, Window
from ray_glocal.hypergradient.state import Snapshot
from ray_glocal.session.settings import Settings
from ray_glocal.session.timetable import Timetable


class Recorder:
    """Collects windows when the timetable says so; a window never starts in its middle.

    Args:
        settings: Window lengths.
        timetable: When windows start.
    """

    def __init__(self, settings: Settings, timetable: Timetable) -> None:
        self._settings, self._timetable = settings, timetable
        self.snapshots: list[Snapshot] = []

    def wants(self, step: int, *, searching: bool) -> bool:
        """Whether the inner step that follows `step` earlier ones belongs to a window."""
        if self.snapshots:
            return True
        return self._timetable.searches(step) if searching else self._timetable.starts(step)

    def full(self, *, searching: bool) -> bool:
        """Whether the window is complete."""
        length = self._settings.search_window if searching else self._settings.window
        return len(self.snapshots) >= length  # longer where a resumed run asks for shorter ones

    def take(self, problem: Problem, val_batches: Sequence[Any]) -> Window:
        """The complete window, ending in the present state; the recorder is empty afterwards."""
        window = Window(tuple(self.snapshots), problem.capture(), val_batches)
        self.drop()
        return window

    def drop(self) -> None:
        """Forget a window that will not be completed."""
        self.snapshots = []
