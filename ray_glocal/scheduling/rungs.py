"""The ladder of successive halving, in exact integers, and who stands where on it.

Li et al. 2020 (arXiv:1810.05934). The ladder is built by integer multiplication: float logarithms lose rungs
(1..243 by 3 and 1..1000 by 10 lose their top one). Where rungs are shares of training there is one more
than theirs, late in it: what is behind there wins no more, and the rest of its training can be had for others.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.attained import Attained
from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Added, Errored, Reported
from ray_glocal.scheduling.ledger import Event
from ray_glocal.scheduling.tuning import AHEAD, BEFOREHAND, REDUCTION


@dataclass(frozen=True)
class Ladder:
    """Rungs at `grace * factor**k` steps, or parts of each trial's own training, of which a late one is a rung as well.

    Args:
        grace: Steps, or parts, before which nobody is judged, at least 1.
        factor: Reduction factor: one in `factor` trials of a rung goes on, at least 2.
        top: Rungs at or beyond this many do not exist, because nobody could be pruned there; None for no end.
        parts: Parts into which each training is divided, so that trials of different lengths, batch sizes and epochs
            meet at the same share of what they have before them; 0 where rungs are in steps.
        heirs: Whether those stand on it whose weights were trained before, or those that start afresh.

    Raises:
        ArgumentError: `grace` or `factor` is not a whole number in its range.
    """

    grace: int
    factor: int = REDUCTION
    top: float | None = None
    parts: int = 0
    heirs: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        _whole("grace_period", self.grace, 1)
        _whole("reduction_factor", self.factor, 2)

    def milestone(self, rung: int) -> int:
        """Steps of `rung`, counted from 0."""
        return next(islice(self._rungs(), rung, None))

    def rung(self, step: float) -> int:
        """The highest rung at or below `step`; -1 below the first.

        A share of training is reached by a report that comes a little before it: by the first of ten epochs a ninth.
        """
        reach = min(step * BEFOREHAND, step + AHEAD * self.parts) if self.parts else step
        return sum(1 for _ in takewhile(lambda milestone: milestone <= reach, self._rungs())) - 1

    def _rungs(self) -> Iterator[int]:
        """Of all rungs; of shares there is a late one where one in `factor` is left, if that lies above the others."""
        milestone, factor = int(self.grace), int(self.factor)
        while self.top is None or milestone < self.top:
            yield milestone
            milestone *= factor
        late = self.parts - self.parts // factor
        if self.parts and late > milestone // factor:
            yield late

    def clock(self, report: Reported) -> float:
        """How far a trial has come, in the ladder's units; 0 where its own end, which that would take, is unknown."""
        if not self.parts:
            return report.step
        # Floats, and the quotient first: whole numbers of three hundred digits come in results too.
        return self.parts * (float(report.step) / report.total) if report.total else 0.0

    def ripe(self, report: Reported) -> bool:
        """Whether a report may be judged: past the grace period, its rate found, and not of a beginning made anew."""
        if report.searching or self.rung(self.clock(report)) < 0:
            return False
        return report.age is None or self.rung(self.clock(replace(report, step=report.age))) >= 0

    def reached(self, report: Reported) -> int:
        """The rung that a report stands for; -1 for none."""
        return self.rung(self.clock(report)) if self.ripe(report) else -1

    def beside(self, report: Reported) -> Ladder:
        """The ladder on which those stand that a trial is compared with."""
        return self if report.heir == self.heirs else replace(self, heirs=report.heir)

    def place(self, rung: int) -> str:
        """A rung in words."""
        return f"{self.milestone(rung) / self.parts:.0%} of training" if self.parts else f"rung {self.milestone(rung)}"

    def keeps(self, population: int) -> int:
        """How many of a rung's `population` go on: all while it is smaller than `factor`, then one in `factor`."""
        return population if population < self.factor else population // int(self.factor)

    def start(self) -> Rungs:
        """An empty standing on this ladder, for `Ledger.view`."""
        return Rungs(self)


@dataclass
class Place:
    """Where one trial stands: its highest rung, its forecast there, and its newest forecast."""

    rung: int
    step: float
    latest_step: float
    latest: float
    entries: dict[int, float] = field(default_factory=dict)

    def own(self, rung: int) -> float:
        """What the trial is judged by on `rung`. A newer forecast may save it; it never condemns it.

        Others are represented by their forecasts at the rung, and forecasts made later differ systematically from
        those made earlier, so a later and worse one would be an unfair comparison.
        """
        return min(self.entries[rung], self.latest)


class Rungs:
    """Sorted forecasts per rung, fed with events one at a time; a query costs a binary search.

    Trials that failed for good or diverged are taken out, since they cannot win and must not condemn others. Pruned
    trials stay in the population (they are what successive halving ranks against) but not among the survivors.

    Once a trial has come to its end, forecasts are held against what was reached before they are reported; the earlier
    ones are held against it then, for those that came later could never be better than the boldest of them.
    """

    def __init__(self, ladder: Ladder) -> None:
        self.ladder = ladder
        self._places: dict[str, Place] = {}
        self._population: dict[int, list[float]] = {}
        self._survivors: dict[int, list[float]] = {}
        self._out: dict[str, bool] = {}  # trials that cannot win, and whether another attempt brings them back
        self._pruned: set[str] = set()
        self._attained = Attained()  # its own: who replays a ledger must not know of an end before it comes
        self._bold: dict[tuple[str, int], Reported] = {}  # entries by trial and rung before anybody came to the end

    def add(self, event: Event) -> None:
        """Take one event into account."""
        self._attained.add(event)
        if self._bold and self._attained.ended:
            self._restrain()
        if isinstance(event, Reported):
            self._report(event)
        elif isinstance(event, Decision) and event.prunes:
            self._prune(event)
        elif isinstance(event, Errored) and event.final:
            self._take_out(event.trial, returns=True)
        elif isinstance(event, Added):
            self._put_back(event.trial)

    def place(self, trial: str) -> Place | None:
        """Where `trial` stands; None below the first rung or when it is out."""
        return None if trial in self._out else self._places.get(trial)

    def population(self, rung: int) -> int:
        """How many trials have been seen on `rung`."""
        return len(self._population.get(rung, ()))

    def better(self, rung: int, value: float) -> int:
        """How many trials of `rung` have a forecast strictly below `value`."""
        return bisect_left(self._population.get(rung, []), value)

    def outlived(self, rung: int, value: float) -> bool:
        """Whether some trial of `rung` with a forecast below `value` has not been pruned."""
        survivors = self._survivors.get(rung, [])
        return bool(survivors) and survivors[0] < value

    def spread(self, rung: int) -> float:
        """Interquartile range of the forecasts on `rung`."""
        values = self._population.get(rung, [])
        return values[(3 * len(values)) // 4] - values[len(values) // 4] if len(values) > 1 else 0.0

    def cut(self, rung: int) -> float:
        """The worst forecast of `rung` that goes on."""
        values = self._population[rung]
        return values[self.ladder.keeps(len(values)) - 1]

    def _report(self, event: Reported) -> None:
        if event.heir != self.ladder.heirs:
            return None
        if not event.finite:
            return self._take_out(event.trial, returns=False)
        if event.age is not None and not self.ladder.ripe(event):
            self._forget(event.trial)
        place = self._places.get(event.trial)
        if place is not None and event.step > place.latest_step:
            place.latest, place.latest_step = event.prospect, event.step
        rung = self.ladder.reached(event)
        if rung > (-1 if place is None else place.rung):
            self._climb(event, rung)
        return None

    def _climb(self, event: Reported, rung: int) -> None:
        fresh = Place(rung, event.step, event.step, event.prospect)
        place = self._places.setdefault(event.trial, fresh)
        place.rung, place.step = rung, event.step
        place.entries[rung] = event.prospect
        if not self._attained.ended:
            self._bold[event.trial, rung] = event
        self._insert(event.trial, rung, event.prospect)

    def _insert(self, trial: str, rung: int, value: float) -> None:
        if trial not in self._out:
            insort(self._population.setdefault(rung, []), value)
            if trial not in self._pruned:
                insort(self._survivors.setdefault(rung, []), value)

    def _restrain(self) -> None:
        """Raise the entries that claim less than the first end of a trial lets anybody claim."""
        for (trial, rung), event in self._bold.items():
            place, least = self._places.get(trial), self._attained.least(event.loss, event.deviation)
            if place is not None and place.entries.get(rung, math.inf) < least:
                self._delete(trial, rung, place.entries[rung])
                place.entries[rung] = least
                self._insert(trial, rung, least)
        self._bold.clear()

    def _delete(self, trial: str, rung: int, value: float) -> None:
        for lists in (self._population, self._survivors) if trial not in self._pruned else (self._population,):
            if trial not in self._out:
                del lists[rung][bisect_left(lists[rung], value)]

    def _forget(self, trial: str) -> None:
        """A trial has begun anew: what it came to before says nothing of it any more."""
        if trial in self._places and trial not in self._out:
            self._remove(self._population, trial)
            if trial not in self._pruned:
                self._remove(self._survivors, trial)
        self._places.pop(trial, None)

    def _prune(self, decision: Decision) -> None:
        if decision.diverged:
            self._take_out(decision.trial, returns=False)
        if decision.trial not in self._pruned:
            self._pruned.add(decision.trial)
            if decision.trial not in self._out:
                self._remove(self._survivors, decision.trial)

    def _take_out(self, trial: str, *, returns: bool) -> None:
        known = trial in self._out
        self._out[trial] = returns and self._out.get(trial, True)
        if known:
            return
        self._remove(self._population, trial)
        if trial not in self._pruned:
            self._remove(self._survivors, trial)

    def _put_back(self, trial: str) -> None:
        if not self._out.get(trial):
            return
        del self._out[trial]
        for rung, value in self._entries(trial).items():
            insort(self._population.setdefault(rung, []), value)
            if trial not in self._pruned:
                insort(self._survivors.setdefault(rung, []), value)

    def _remove(self, lists: dict[int, list[float]], trial: str) -> None:
        for rung, value in self._entries(trial).items():
            del lists[rung][bisect_left(lists[rung], value)]

    def _entries(self, trial: str) -> dict[int, float]:
        place = self._places.get(trial)
        return {} if place is None else place.entries


def _whole(argument: str, value: float, least: int) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or value != int(value) or value < least:
        raise ArgumentError(argument, f"be a whole number of at least {least}", value, "The ladder is exact integers.")
