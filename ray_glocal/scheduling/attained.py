"""The lowest loss that any trial has really reached: what forecasts are held against."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Completed, Reported
from ray_glocal.scheduling.ledger import Event


@dataclass(frozen=True)
class Lowest:
    """The lowest loss of all reports, as a view of a ledger."""

    def start(self) -> Attained:
        """Nothing yet, for `Ledger.view`."""
        return Attained()


@dataclass
class Attained:
    """The lowest finite loss so far, and whether any trial has come to its end: nobody knows it before.

    Args:
        lowest: The loss; infinite where there is none.
        ended: Whether a trial that was not pruned has completed.
        pruned: Trials that were.
    """

    lowest: float = math.inf
    ended: bool = False
    pruned: set[str] = field(default_factory=set)

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, Reported):
            self.lowest = min(self.lowest, event.loss) if event.finite else self.lowest
        elif isinstance(event, Completed):
            self.ended |= event.trial not in self.pruned
        elif isinstance(event, Decision) and event.prunes:
            self.pruned.add(event.trial)

    def least(self, loss: float, deviation: float | None) -> float:
        """The lowest end that a forecast may claim: the best loss that anybody reached, less its own deviation.

        Minus infinity until a trial has come to its end: losses on the way say nothing of how low they lead.

        Args:
            loss: What the forecast trial has reached itself.
            deviation: Of the forecast; None where it is unknown.
        """
        if not self.ended or not math.isfinite(loss):
            return -math.inf
        return min(self.lowest, loss) - (deviation or 0.0)
