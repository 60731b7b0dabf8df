"""The processor's time by part, each second counted once: a part that calls another stops until that returns."""

import time
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any

REST = "rest"  # outside of every part


class Stopwatch:
    """Seconds that this thread has spent in each part.

    Args:
        clock: Seconds so far.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.seconds: Counter[str] = Counter()
        self._clock, self._part, self._since = clock, REST, clock()

    def within(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, whose time is that of `part`."""

        @wraps(call)
        def timed(*args: Any, **options: Any) -> Any:
            before = self._turn(part)
            try:
                return call(*args, **options)
            finally:
                self._turn(before)

        return timed

    def watch(self, holder: Any, part: str, *names: str) -> None:
        """Count calls of an object's methods, or of all objects of a class, as time of `part`."""
        for name in names:
            setattr(holder, name, self.within(part, getattr(holder, name)))

    def lap(self) -> Counter[str]:
        """Seconds so far."""
        self._turn(self._part)
        return Counter(self.seconds)

    def _turn(self, part: str) -> str:
        now, before = self._clock(), self._part
        self.seconds[before] += now - self._since
        self._part, self._since = part, now
        return before
