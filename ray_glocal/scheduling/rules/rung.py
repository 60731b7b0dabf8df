"""Asynchronous successive halving on the forecast final loss.

Li et al. 2020 (arXiv:1810.05934), with two differences. Trials are ranked by what they are forecast to end at, not by
where they are. And a trial is judged at each report against every rung that it has been on, so that one that passed
because it came first is stopped once enough others have been there and were better.
"""

from __future__ import annotations

from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rungs import Ladder, Place, Rungs


@dataclass(frozen=True)
class Rung:
    """Keeps one in `ladder.factor` of each rung's trials, by forecast final loss.

    A trial is judged by its forecast less its potential, so that one whose hyperparameters still have far to go is not
    stopped for a bad present loss, and less `caution` standard deviations of the forecast; each counts for no more than
    the interquartile range of the rung, since a number that says nothing must not protect everybody. It is stopped only
    while somebody better has not been pruned, so at least one trial always survives.

    Args:
        ladder: The rungs.
        caution: Standard deviations in the trial's favour, at least 0. More of it keeps more trials than one in
            `ladder.factor`: on simulated curves that cost trials and won nothing.

    Raises:
        ArgumentError: `caution` is negative.
    """

    ladder: Ladder
    caution: float = 0.0
    name: str = "rung"

    def __post_init__(self) -> None:
        if not self.caution >= 0:
            remedy = "0 judges by the forecast alone, 1 favours a trial by one standard deviation of it."
            raise ArgumentError("caution", "be at least 0", self.caution, remedy)

    def __call__(self, ledger: Ledger, event: Reported) -> Decision | None:
        """STOP where too many of a rung are better; CONTINUE, once, where a rung is passed; None in between."""
        rungs = ledger.view(self.ladder.beside(event))
        place = rungs.place(event.trial)
        if place is None or not self.ladder.ripe(event):
            return None
        for rung in sorted(place.entries, reverse=True):
            judged = self._optimistic(rungs, rung, place, event)
            if self._behind(rungs, rung, judged) and rungs.outlived(rung, judged):
                return self._answer(Action.STOP, rungs, rung, place, event)
        return self._answer(Action.CONTINUE, rungs, place.rung, place, event) if event.step == place.step else None

    def _optimistic(self, rungs: Rungs, rung: int, place: Place, event: Reported) -> float:
        spread = rungs.spread(rung)
        deviation = spread if event.deviation is None else min(event.deviation, spread)
        benefit = self.caution * deviation if self.caution else 0.0  # an infinite spread times no caution is nothing
        potential = min(max(event.potential or 0.0, 0.0), spread)
        return place.own(rung) - potential - benefit

    def _behind(self, rungs: Rungs, rung: int, judged: float) -> bool:
        return rungs.better(rung, judged) >= self.ladder.keeps(rungs.population(rung))

    def _answer(self, action: Action, rungs: Rungs, rung: int, place: Place, event: Reported) -> Decision:
        judged, population = self._optimistic(rungs, rung, place, event), rungs.population(rung)
        behind = self._behind(rungs, rung, judged)
        spared = ", but nobody better is left to win" if behind and action is Action.CONTINUE else ""
        reason = (
            f"At {self.ladder.place(rung)} the forecast final loss {place.own(rung):.6g} "
            f"(optimistically {judged:.6g}) {'is' if behind else 'is not'} behind the best "
            f"{self.ladder.keeps(population)} of {population}, which end at {rungs.cut(rung):.6g}{spared}."
        )
        return Decision(event.trial, event.step, action, self.name, reason, event.final, event.deviation)
