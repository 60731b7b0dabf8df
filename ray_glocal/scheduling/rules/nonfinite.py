"""Stop a trial at its first non-finite loss: no comparison would ever do it, since `nan < cut` is False."""

from __future__ import annotations

from dataclasses import dataclass

from ray_glocal.scheduling.decision import NONFINITE, Action, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger


@dataclass(frozen=True)
class NonFinite:
    """Prunes on NaN and infinity, whatever the trial's age."""

    name: str = NONFINITE

    def __call__(self, ledger: Ledger, event: Reported) -> Decision | None:
        """STOP where the reported loss is not finite."""
        if event.finite:
            return None
        reason = f"The loss at step {event.step:g} is {event.loss}: a trial that has diverged cannot win."
        return Decision(event.trial, event.step, Action.STOP, self.name, reason)
