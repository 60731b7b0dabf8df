"""What an actor is busy with."""

from collections.abc import Callable
from typing import Any

from ray_glocal.simulate.clock import Clock, Event


class Tasks:
    """An actor's tasks, which take their time one after the other.

    Args:
        clock: The virtual time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._busy = 0.0  # until when
        self._events: list[Event] = []
        self.answer_error: Any = None  # whom to tell when the actor dies during the call that is under way

    def add(self, duration: float, happen: Callable[[], Any]) -> None:
        """Let something happen `duration` seconds after all that is planned."""
        self._busy = max(self._busy, self._clock.now) + duration
        self._plan(self._busy - self._clock.now, happen)

    def interrupt(self, happen: Callable[[], Any]) -> None:
        """Let something happen next, instead of all that is planned."""
        self.cancel()
        self._plan(0.0, happen)

    def cancel(self) -> None:
        """Nothing that is planned will happen."""
        for event in self._events:
            event.over = True
        self._events.clear()
        self.answer_error = None

    def _plan(self, delay: float, happen: Callable[[], Any]) -> None:
        self._events = [event for event in self._events if not event.over]
        self._events.append(self._clock.plan(delay, happen))
