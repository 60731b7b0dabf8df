"""Stop a trial whose best hope is worse than what the leader is nearly sure of."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.scheduling.standing import Ends


@dataclass(frozen=True)
class Dominated:
    """Compares the optimistic end of a trial with the pessimistic end of the leader.

    The optimistic end is the forecast final loss, less what the remaining outer steps can still buy (the potential,
    from the glocal hypergradients), less the deviations of the stated confidence. The leader is never dominated, by
    its own pessimistic end least of all, so at least one trial survives; nobody is judged before the grace period, or
    without a deviation.

    Args:
        ladder: Its grace period.
        confidence: Of each end, in [.5, 1).

    Raises:
        ArgumentError: `confidence` is out of its range.
    """

    ladder: Ladder
    confidence: float = 0.95
    name: str = "dominated"

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ArgumentError("confidence", "lie in [.5, 1)", self.confidence)

    def __call__(self, ledger: Ledger, event: Reported) -> Decision | None:
        """STOP where even the optimistic end lies above the leader's pessimistic one; None otherwise."""
        if not event.finite or event.deviation is None or not self.ladder.ripe(event):
            return None
        deviations = NormalDist().inv_cdf(self.confidence)
        leader = ledger.view(Ends(self.ladder, deviations)).leader
        optimistic = event.final - (event.potential or 0.0) - deviations * event.deviation
        if leader is None or leader.trial == event.trial or not optimistic > leader.pessimistic:
            return None
        reason = (
            f"Even optimistically it would end at {optimistic:.6g} (forecast {event.final:.6g}, potential "
            f"{event.potential or 0.0:.3g}, {deviations:.3g} deviations of {event.deviation:.3g}), above the "
            f"pessimistic end of trial {leader.trial}, {leader.pessimistic:.6g}."
        )
        return Decision(event.trial, event.step, Action.STOP, self.name, reason, event.final, event.deviation)
