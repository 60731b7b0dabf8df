"""Asynchronous successive halving on the forecast final loss.

Li et al. 2020 (arXiv:1810.05934), with two differences. Trials are ranked by what they are forecast to end at, not by
where they are. And a trial is judged again at each report against the rung that it stands on, so that one that passed
because it came first is stopped once enough others have been there and were better.
"""

from __future__ import annotations

from dataclasses import dataclass

from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rungs import Ladder, Place, Rungs


@dataclass(frozen=True)
class Rung:
    """Keeps one in `ladder.factor` of each rung's trials, by forecast final loss.

    A trial is given the benefit of `caution` standard deviations of its own forecast, but of no more than `caution`
    interquartile ranges of the rung: a forecast that says nothing must not protect everybody. It is stopped only while
    somebody better has not been pruned, so at least one trial always survives.

    Args:
        ladder: The rungs.
        caution: Standard deviations in the trial's favour, at least 0.
    """

    ladder: Ladder
    caution: float = 0.5
    name: str = "rung"

    def __call__(self, ledger: Ledger, event: Reported) -> Decision | None:
        """STOP where too many of the rung are better; CONTINUE, once, where a rung is passed; None in between."""
        rungs = ledger.view(self.ladder)
        place = rungs.place(event.trial)
        if place is None or event.step < self.ladder.grace:
            return None
        judged = self._optimistic(rungs, place, event)
        better = rungs.better(place.rung, judged)
        population = rungs.population(place.rung)
        if better >= self.ladder.keeps(population) and rungs.outlived(place.rung, judged):
            return self._answer(Action.STOP, rungs, place, event, judged)
        passed = event.step == place.step
        return self._answer(Action.CONTINUE, rungs, place, event, judged) if passed else None

    def _optimistic(self, rungs: Rungs, place: Place, event: Reported) -> float:
        spread = rungs.spread(place.rung)
        deviation = spread if event.deviation is None else min(event.deviation, spread)
        return place.own - self.caution * deviation

    def _answer(self, action: Action, rungs: Rungs, place: Place, event: Reported, judged: float) -> Decision:
        population = rungs.population(place.rung)
        keeps = self.ladder.keeps(population)
        behind = rungs.better(place.rung, judged) >= keeps
        spared = ", but nobody better is left to win" if behind and action is Action.CONTINUE else ""
        reason = (
            f"At rung {self.ladder.milestone(place.rung)} the forecast final loss {place.own:.6g} "
            f"(optimistically {judged:.6g}) {'is' if behind else 'is not'} behind the best {keeps} of {population}, "
            f"which end at {rungs.cut(place.rung):.6g}{spared}."
        )
        return Decision(event.trial, event.step, action, self.name, reason, event.final, event.deviation)
