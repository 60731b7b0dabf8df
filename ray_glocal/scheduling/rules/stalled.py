"""Stop a trial that has nothing left to improve and is not among the best."""

from __future__ import annotations

from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.scheduling.standing import Ends


@dataclass(frozen=True)
class Stalled:
    """Ends trials whose potential cannot bring them to the leader.

    Only for trials that report a potential, as sessions do: where the remaining outer steps can buy less than a small
    share of the distance to the leader's forecast, and the trial stands behind those of its rung that go on, nothing
    but luck would still change the order. The benefit of the doubt that the rung rule grants is not granted here.

    Args:
        ladder: The rungs.
        least: Share of the distance to the leader that the potential must reach, in (0, 1].

    Raises:
        ArgumentError: `least` is out of its range.
    """

    ladder: Ladder
    least: float = 0.05
    name: str = "stalled"

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ArgumentError("least", "lie in (0, 1]", self.least)

    def __call__(self, ledger: Ledger, event: Reported) -> Decision | None:
        """STOP where nothing is left to gain and enough others are better; None otherwise."""
        if not event.finite or event.potential is None or not self.ladder.ripe(event):
            return None
        rungs, leader = ledger.view(self.ladder.beside(event)), ledger.view(Ends(self.ladder, 0.0)).leader
        place = rungs.place(event.trial)
        if place is None or leader is None or leader.trial == event.trial:
            return None
        gap, own = event.final - leader.final, place.own(place.rung)
        keeps, better = self.ladder.keeps(rungs.population(place.rung)), rungs.better(place.rung, own)
        if gap <= 0 or event.potential >= self.least * gap or better < keeps:
            return None
        reason = (
            f"The remaining outer steps can buy {event.potential:.3g}, less than {self.least:.0%} of the {gap:.3g} "
            f"that its forecast {event.final:.6g} lies behind trial {leader.trial}, and {better} of its rung are "
            f"better, of whom {keeps} go on."
        )
        return Decision(event.trial, event.step, Action.STOP, self.name, reason, event.final, event.deviation)
