"""Who leads, and how surely: the lowest pessimistic end among the trials that can still win."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Added, Errored, Reported
from ray_glocal.scheduling.ledger import Event
from ray_glocal.scheduling.rungs import Ladder


@dataclass(frozen=True)
class Leader:
    """The trial whose pessimistic end is the lowest.

    Args:
        trial: Tune's trial id.
        final: Its forecast final loss.
        pessimistic: That plus its deviations.
    """

    trial: str
    final: float
    pessimistic: float


@dataclass(frozen=True)
class Ends:
    """What a standing compares.

    Args:
        ladder: Tells from when on a forecast says enough to lead.
        deviations: Standard deviations between a forecast and its pessimistic end.
    """

    ladder: Ladder
    deviations: float

    def start(self) -> Standing:
        """A standing without trials, for `Ledger.view`."""
        return Standing(self)


class Standing:
    """The latest forecast with a deviation of each trial that was not pruned, did not fail and stayed finite.

    A heap with stale entries: an event and a question cost O(log n), for each entry is thrown out once.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._now: dict[str, Leader] = {}
        self._heap: list[tuple[float, int, Leader]] = []
        self._count = 0
        self._out: dict[str, bool] = {}  # trials that cannot win, and whether another attempt brings them back

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, Reported):
            self._report(event)
        elif isinstance(event, Decision) and event.prunes:
            self._take_out(event.trial, returns=False)
        elif isinstance(event, Errored) and event.final:
            self._take_out(event.trial, returns=True)
        elif isinstance(event, Added) and self._out.get(event.trial):
            del self._out[event.trial]

    @property
    def leader(self) -> Leader | None:
        """The trial with the lowest pessimistic end, the first of several; None while nobody is old enough."""
        while self._heap and self._now.get(self._heap[0][2].trial) is not self._heap[0][2]:
            heapq.heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def _report(self, event: Reported) -> None:
        if not event.finite:
            self._take_out(event.trial, returns=False)
        elif event.trial not in self._out and event.deviation is not None and self._ends.ladder.ripe(event):
            pessimistic = event.final + self._ends.deviations * event.deviation
            self._now[event.trial] = Leader(event.trial, event.final, pessimistic)
            self._count += 1
            heapq.heappush(self._heap, (pessimistic, self._count, self._now[event.trial]))

    def _take_out(self, trial: str, *, returns: bool) -> None:
        self._now.pop(trial, None)
        self._out[trial] = returns and self._out.get(trial, True)
