"""The meter: books the time of a training in progress to plain steps or to what the session adds."""

import time
from collections.abc import Callable

import torch

from ray_glocal.hypergradient.problem.ranks import Ranks
from ray_glocal.session.pacing.cost import PLAIN, SEARCH, UPKEEP, Cost
from ray_glocal.session.pacing.tuning import LEARN, LONGEST_TIMED, WARM_UP

Clock = Callable[[], float]


class Meter:
    """Times intervals of training as wholes: a device is waited for at their ends, not at every step.

    What happens between two steps of an interval, such as loading batches, belongs to training. A window's plain steps
    are booked at what a plain step takes typically; the rest of its time is extra. So is the session's own work beside
    a plain step, from `aside` to `start` and from `step` to `back`: on a CPU, and in one process, for elsewhere calls
    return before their work is done.

    Args:
        cost: Where to book.
        device: Of the parameters.
        clock: Seconds since any moment.
        ranks: Those that train together: all go by the clock of the first, so that they decide alike.
    """

    def __init__(
        self, cost: Cost, device: torch.device, clock: Clock = time.perf_counter, ranks: Ranks | None = None
    ) -> None:
        self.cost, self._device, self._clock, self._ranks = cost, device, clock, ranks
        self._alone = ranks is None or ranks.count == 1
        self._at_once = self._alone and device.type == "cpu"
        self._kind: str | None = None  # of the open interval
        self._since = self._aside = 0.0
        self._left: float | None = None  # when the session's own work began, while it lasts
        self._steps = self._warm = 0
        self._longest = WARM_UP  # interval of plain steps
        self._met: set[str] = set()  # kinds whose first call is over

    def aside(self) -> None:
        """Begin work of the session's own, inside an interval or between two."""
        if self._at_once:
            self._left = self._clock()

    def back(self) -> None:
        """End it, if there is any."""
        left, self._left = self._left, None
        if left is None:
            return
        if self._kind is None:
            self.cost.extra_seconds += self._clock() - left
        else:
            self._aside += self._clock() - left

    def start(self, kind: str) -> None:
        """Go over to an interval of this kind, from the session's own work too; one of another kind ends."""
        if kind == self._kind:
            self.back()
            return
        self.back()
        now = self._end()
        self._kind, self._since, self._aside = kind, self.now() if now is None else now, 0.0

    def step(self) -> None:
        """Count a plain step of the open interval, which ends where it is long enough to be measured, and go aside."""
        self.aside()
        self._steps += 1
        self.cost.plain_steps += 1
        if self._kind == PLAIN and self._steps >= self._longest:
            now = self._end()
            assert now is not None
            self._kind, self._since = PLAIN, now

    def stop(self) -> None:
        """End the open interval; what comes next, a checkpoint say, is not booked.

        Of several ranks only one may write a checkpoint: then nobody waits for the others, and it is booked.
        """
        if self._alone:
            self._end()
            self._left = None

    def complete(self, kind: str) -> None:
        """End the interval with which a window or a report is complete."""
        self._end()
        taken = self.cost.pending.pop(kind, 0.0)
        if kind in self._met:
            self.cost.observe(kind, taken)
        else:
            self.cost.first[kind] = taken
        self._met.add(kind)

    def forget(self) -> None:
        """A window will not be completed; what it took stays spent."""
        self._end()
        self.cost.pending.clear()

    def _end(self) -> float | None:
        """Book the open interval, if there is one; the time now."""
        if self._kind is None:
            return None
        now = self.now()
        if self._left is not None:  # it goes on after the interval
            self._aside, self._left = self._aside + now - self._left, now
        taken, kind, steps = now - self._since, self._kind, self._steps
        self._kind = None
        if kind == PLAIN:
            self._book_plain(taken - self._aside, self._aside, steps)
        else:
            self._book_extra(kind, taken, steps)
        self._aside, self._steps = 0.0, 0
        return now

    def _book_plain(self, seconds: float, aside: float, steps: int) -> None:
        self.cost.plain_seconds += seconds
        self.cost.timed_steps += steps
        self.cost.extra_seconds += aside
        if steps and self._warm >= WARM_UP:
            self.cost.observe(PLAIN, seconds / steps)
            self.cost.observe(UPKEEP, aside / steps)
        self._warm += steps
        if self._warm < LEARN:
            self._longest = (WARM_UP if self._warm < WARM_UP else LEARN) - self._warm
        else:
            self._longest = LONGEST_TIMED

    def _book_extra(self, kind: str, taken: float, steps: int) -> None:
        plain = self.cost.priced(steps, taken)
        self.cost.plain_seconds += plain
        self.cost.extra_seconds += taken - plain
        self.cost.pending[kind] = self.cost.pending.get(kind, 0.0) + taken - plain
        if kind == SEARCH:
            self.cost.searched += taken - plain

    def now(self) -> float:
        """Seconds, when all that was asked for is done; of several ranks by the clock of the first."""
        if self._device.type != "cpu":
            torch.get_device_module(self._device).synchronize()
        return self._clock() if self._ranks is None else self._ranks.agreed(self._clock())
