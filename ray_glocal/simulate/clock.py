"""A clock that jumps from event to event."""

import heapq
import itertools
from collections.abc import Callable


class Event:
    """Something that will happen unless it is over before."""

    __slots__ = ("happen", "over")

    def __init__(self, happen: Callable[[], None]) -> None:
        self.happen, self.over = happen, False


class Clock:
    """Virtual seconds, and what is due; events of the same moment happen in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self.happened = 0  # events so far
        self._due: list[tuple[float, int, Event]] = []
        self._order = itertools.count()

    def plan(self, delay: float, happen: Callable[[], None]) -> Event:
        """Let something happen after `delay` seconds."""
        event = Event(happen)
        heapq.heappush(self._due, (self.now + delay, next(self._order), event))
        return event

    def advance(self) -> bool:
        """Go to the next event that is not over, and let it happen; whether there was one."""
        while self._due:
            time, _, event = heapq.heappop(self._due)
            if not event.over:
                self.now, event.over = time, True
                self.happened += 1
                event.happen()
                return True
        return False
