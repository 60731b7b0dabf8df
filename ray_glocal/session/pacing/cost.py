"""What a session costs: counted inner-step equivalents and measured seconds, hypergradients never left out."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ray_glocal.names import COST_OVERHEAD, COST_SECONDS, COST_SHARE, COST_STEPS
from ray_glocal.session.pacing.tuning import RECENT

# One plain step (forward and backward pass) is one. A differentiated step repeats it, unless its graph was kept, and
# adds Hessian products of about two plain steps each.
REPLAY = 1.0
HESSIAN_PRODUCT = 2.0
FORWARD = 1 / 3  # the forward pass alone
PLAIN, SEARCH, WINDOW, REPORT = "plain", "search", "window", "report"  # kinds of measurements
PROBE = "probe"  # what comes before the first step
UPKEEP = "upkeep"  # what bookkeeping takes beside a plain step
CONTEST = "contest"  # of the two engines


@dataclass
class Cost:
    """Running totals of one session, and what its parts have cost lately.

    Args:
        plain_steps: Inner steps taken.
        extra_steps: Counted cost of everything else, in inner-step equivalents: hypergradients and validation.
        plain_seconds: Time of plain training: its steps and the batches between them, as far as a plain step takes it
            also of the steps of windows.
        extra_seconds: Time of everything else: recording, hypergradients, forecasts, outer steps, the trace, reports
            and bookkeeping. Checkpoints are left out: whoever takes them pays for them.
        searched: Part of `extra_seconds` that the search's windows took.
        timed_steps: Those of `plain_steps` whose time is booked; the open interval is not yet.
        unpriced: Steps of windows before any plain step was timed; they count as extra until one is.
        pending: Part of `extra_seconds` that what is not complete yet has taken so far, by kind.
        first: What the first of each kind took, which sets things up.
        recent: Last measurements of each kind but the first, seconds: of one plain step (`plain`) and the bookkeeping
            beside it (`upkeep`), of a `search` window, a later `window` and a `report` beyond their plain steps.
    """

    plain_steps: float = 0.0
    extra_steps: float = 0.0
    plain_seconds: float = 0.0
    extra_seconds: float = 0.0
    searched: float = 0.0
    timed_steps: int = 0
    unpriced: int = 0
    pending: dict[str, float] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    recent: dict[str, deque[float]] = field(default_factory=dict)

    def observe(self, kind: str, seconds: float) -> None:
        """Remember a measurement that is typical of its kind."""
        if kind == PLAIN and self.unpriced:
            owed = min(self.extra_seconds, self.unpriced * seconds)
            self.plain_seconds, self.extra_seconds = self.plain_seconds + owed, self.extra_seconds - owed
            self.unpriced = 0
        self.recent.setdefault(kind, deque(maxlen=RECENT)).append(seconds)

    def typical(self, kind: str) -> float | None:
        """Median of the last measurements of a kind, seconds; None before the first."""
        seen = self.recent.get(kind)
        return median(seen) if seen else None

    def priced(self, steps: int, most: float) -> float:
        """Seconds that so many plain steps take, of the `most` that they and something else took together."""
        price = self.typical(PLAIN)
        self.timed_steps += steps
        if price is None:
            self.unpriced += steps
            return 0.0
        return min(most, steps * price)

    @property
    def overhead(self) -> float:
        """Seconds of everything else over those of plain training; 0 before any."""
        return self.extra_seconds / self.plain_seconds if self.plain_seconds else 0.0

    def metrics(self) -> dict[str, float]:
        """Totals as they are reported."""
        seconds = self.plain_seconds + self.extra_seconds
        return {
            COST_STEPS: self.plain_steps + self.extra_steps,
            COST_SECONDS: seconds,
            COST_SHARE: self.extra_seconds / seconds if seconds else 0.0,
            COST_OVERHEAD: self.overhead,
        }

    def as_plain(self) -> dict[str, Any]:
        """The totals as plain data."""
        copies = {"pending": dict(self.pending), "first": dict(self.first)}
        return {**vars(self), **copies, "recent": {kind: list(seen) for kind, seen in self.recent.items()}}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        vars(self).update(plain)
        self.recent = {kind: deque(seen, maxlen=RECENT) for kind, seen in plain["recent"].items()}


def window_steps(engine: str, window: int, again: float, entries: int, size: float) -> float:
    """Inner-step equivalents of one differentiated window beyond its plain steps.

    Args:
        engine: `adjoint` or `forward`.
        window: Steps of the window.
        again: Passes by which they are run again.
        entries: Hyperparameter entries.
        size: Of the validation batches of an outer gradient, in training batches.
    """
    if engine == "adjoint":
        return again * REPLAY + window * HESSIAN_PRODUCT + size
    return again * REPLAY + window * (HESSIAN_PRODUCT * entries + size)


def report_steps(size: float) -> float:
    """Inner-step equivalents of a report: a third of a step for the forward pass over each training batch's worth."""
    return size * FORWARD
