"""The duty cycle: which inner steps are recorded, and the window they make."""

from collections.abc import Sequence
from typing import Any

from ray_glocal.hypergradient import Problem, Window
from ray_glocal.hypergradient.state import Snapshot
from ray_glocal.session.settings import Settings


class Recorder:
    """Collects the last `window` steps of each period; a window never starts in its middle.

    While the search for the learning rate is on, short windows follow each other at once: a start value that is off
    by decades is left in a few windows, not in a few periods.

    Args:
        settings: Window lengths and duty cycle.
        total_steps: A window that would end with training, when nothing is left to decide, is not recorded.
    """

    def __init__(self, settings: Settings, total_steps: int) -> None:
        self._settings, self._total = settings, total_steps
        self.snapshots: list[Snapshot] = []

    def _length(self, searching: bool) -> int:
        return self._settings.search_window if searching else self._settings.window

    def wants(self, step: int, *, searching: bool) -> bool:
        """Whether the inner step that follows `step` earlier ones belongs to a window."""
        if self.snapshots:
            return True
        length, period = self._length(searching), self._settings.period
        due = searching or step % period == period - length
        return due and step + length < self._total

    def full(self, *, searching: bool) -> bool:
        """Whether the window is complete."""
        return len(self.snapshots) >= self._length(searching)  # longer where a resumed run asks for shorter ones

    def take(self, problem: Problem, val_batches: Sequence[Any]) -> Window:
        """The complete window, ending in the present state; the recorder is empty afterwards."""
        window = Window(tuple(self.snapshots), problem.capture(), val_batches)
        self.drop()
        return window

    def drop(self) -> None:
        """Forget a window that will not be completed."""
        self.snapshots = []

    def windows_left(self, step: int) -> int:
        """Windows of the duty cycle that end after `step` and before the last step."""
        return max(0, (self._total - 1) // self._settings.period - step // self._settings.period)
