"""The recorder: inner steps that make a window."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.window.window import Window
from ray_glocal.session.pacing.timetable import Timetable
from ray_glocal.session.settings import Settings
from ray_glocal.session.windows.tuning import TRIES

NEVER = 2**62  # a step


class Recorder:
    """Collects windows when the timetable says so; a window never starts in its middle.

    Args:
        settings: Window lengths.
        timetable: When windows start.
    """

    def __init__(self, settings: Settings, timetable: Timetable) -> None:
        self._settings, self._timetable = settings, timetable
        self.snapshots: list[Snapshot] = []
        self._failures = self._resumes = 0  # windows in a row that were dropped; the step until which none starts

    def wants(self, step: int, *, searching: bool) -> bool:
        """Whether the inner step that follows `step` earlier ones belongs to a window."""
        if self.snapshots:
            return True
        if step < self._resumes:
            return False
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

    def fail(self, step: int, *, again: bool = True) -> None:
        """Forget one that cannot be differentiated; after several in a row wait as long as training has taken so far.

        What stood in their way may pass, as a warm-up does; where it does not, next to no time is lost on it.

        Args:
            step: Inner steps taken so far.
            again: Whether another one may be tried.
        """
        self.drop()
        self._failures += 1
        if not again:
            self._resumes = NEVER
        elif self._failures % TRIES == 0:
            self._resumes = 2 * step

    def succeed(self) -> None:
        """A window was differentiated."""
        self._failures = 0

    def as_plain(self) -> dict[str, int]:
        """How windows fared, as plain data."""
        return {"failures": self._failures, "resumes": self._resumes}

    def load_plain(self, plain: Mapping[str, int]) -> None:
        """Inverse of `as_plain`."""
        self._failures, self._resumes = plain["failures"], plain["resumes"]
