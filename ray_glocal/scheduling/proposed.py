"""What the trials that our own searcher proposed have come to, in arrays that grow with the ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported, Settled
from ray_glocal.scheduling.factor import Array, Levels, Space
from ray_glocal.scheduling.ledger import Event
from ray_glocal.scheduling.tuning import BEHIND, LIGHT

Flags = NDArray[np.bool_]

_COLUMNS: dict[str, Any] = {
    "configuration": np.int64,
    "last": np.float64,  # final loss by the latest report
    "last_deviation": np.float64,
    "forecast": np.float64,  # final loss by the latest report with a forecast
    "forecast_deviation": np.float64,
    "reported": np.bool_,
    "foretold": np.bool_,  # whether any report had a forecast
    "diverged": np.bool_,
    "errored": np.bool_,
    "live": np.bool_,
    "pruned": np.bool_,
}
_WORST = 1e100  # what a loss counts as at most


@dataclass(frozen=True)
class ProposedTrials:
    """The trials that were proposed from this space, as a view of a ledger."""

    space: Space

    def start(self) -> TrialTable:
        """Nobody yet, for `Ledger.view`."""
        return TrialTable(self.space)


class TrialTable:
    """One row per proposed trial, in the order of proposal, and one number per configuration that was ever proposed.

    An event costs O(1). What a row says is what the ledger's record of the trial says.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._numbers: dict[tuple[int, ...], int] = {}
        self._places: dict[str, int] = {}
        self._strangers: set[str] = set()
        self._attempts: list[int] = []
        self._steps: list[float | None] = []  # of the latest report
        self._columns = {name: np.zeros(16, kind) for name, kind in _COLUMNS.items()}
        self._levels = np.zeros((16, len(space.factors)), np.int64)
        self.trials: list[str] = []
        self.slopes: dict[int, Mapping[str, float]] = {}  # of each configuration, by the last report that told any

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, Settled) or event.trial in self._strangers:
            return
        place = self._places.get(event.trial)
        if place is None:
            place = self._meet(event)
        if place is not None:
            self._tell(place, event)

    @property
    def configuration(self) -> NDArray[np.int64]:
        """Number of each trial's configuration."""
        return self._column("configuration")

    @property
    def final(self) -> Array:
        """Each trial's best guess at its final loss, within +-1e100; 0 before its first report.

        The last word of one that ended by itself; of others the latest forecast, for between rungs there may be none.
        """
        return self._best_guess("last", "forecast")

    @property
    def deviation(self) -> Array:
        """Standard deviation of that guess; 0 where it is unknown."""
        return self._best_guess("last_deviation", "forecast_deviation")

    @property
    def usable(self) -> Flags:
        """Which trials have a finite forecast or have ended, and did not fail; a loss on the way says little."""
        known = self._column("foretold") | (self._column("reported") & ~self._column("live"))
        return np.asarray(known & ~self.failed)

    @property
    def failed(self) -> Flags:
        """Which trials diverged or failed for good."""
        return np.asarray(self._column("diverged") | self._column("errored"))

    @property
    def waiting(self) -> Flags:
        """Which trials will run on and say nothing of their end yet."""
        return np.asarray(self._column("live") & ~self._column("foretold") & ~self._column("diverged"))

    @property
    def pruned(self) -> Flags:
        """Which trials a rule ended."""
        return self._column("pruned")

    @property
    def levels(self) -> Levels:
        """Levels of each configuration, in the order in which they were first proposed."""
        return self._levels[: len(self._numbers)]

    def number(self, levels: tuple[int, ...]) -> int | None:
        """The number of a configuration; None where it was never proposed."""
        return self._numbers.get(levels)

    def tried(self, levels: tuple[int, ...]) -> int:
        """How often a configuration was proposed."""
        number = self._numbers.get(levels)
        return 0 if number is None else int(np.count_nonzero(self.configuration == number))

    def knows(self, trial: str) -> bool:
        """Whether a trial was proposed from this space."""
        return trial in self._places

    def expected(self, trial: str) -> float:
        """The best guess at the final loss of one trial."""
        return float(self.final[self._places[trial]])

    def nearest(self, levels: tuple[int, ...], spread: float) -> str | None:
        """The usable trial to hand down values to `levels`: all decisive factors equal, near in the others, and good.

        Distances of the factors add up: 1 for another category, at most 1 for another place in an order. A loss above
        the best candidate's counts too, but less than another category. Ties go to the older trial.

        Args:
            levels: Configuration to be started.
            spread: Unit of the losses.
        """
        apart = np.zeros(len(self.levels))
        for column, (factor, level) in enumerate(zip(self._space.factors, levels, strict=True)):
            distance = factor.distances[level][self.levels[:, column]]
            apart += np.where(distance > 0, np.inf, 0.0) if factor.decisive else distance
        able = np.flatnonzero(self.usable & np.isfinite(apart)[self.configuration])
        if not len(able):
            return None
        losses = self.final[able]
        behind = np.minimum((losses - losses.min()) / spread, BEHIND)
        return self.trials[int(able[np.argmin(apart[self.configuration[able]] + LIGHT * behind)])]

    def hopeless(self, certainty: float) -> Flags:
        """Which configurations have only pruned or failed trials, all of them surely worse than the best trial.

        Args:
            certainty: Deviations by which the most hopeful of them ends above the worst end of the best.
        """
        usable, final, reach = self.usable, self.final, certainty * self.deviation
        over = np.ones(len(self._numbers), np.bool_)
        if not usable.any():
            return ~over
        best = np.argmin(np.where(usable, final, np.inf))
        surely = self.failed | (self.pruned & (final - reach > final[best] + reach[best]))
        over[self.configuration[~surely]] = False
        return over

    def _best_guess(self, last: str, forecast: str) -> Array:
        """Of one column or another, as `final` says."""
        over = ~self._column("live") & ~self._column("pruned")
        return np.where(over | ~self._column("foretold"), self._column(last), self._column(forecast))

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name][: len(self.trials)]

    def _meet(self, event: Event) -> int | None:
        """A row for a trial that is heard of for the first time, if it was proposed from this space."""
        if not isinstance(event, Added) or not event.proposed or not self._fits(event):
            self._strangers.add(event.trial)  # type: ignore[union-attr]  # settings were sorted out
            return None
        number = self._numbers.setdefault(event.levels, len(self._numbers))
        if number == len(self._levels):
            self._levels = np.concatenate([self._levels, np.zeros_like(self._levels)])
        self._levels[number] = event.levels
        place = self._places[event.trial] = len(self.trials)
        self.trials.append(event.trial)
        self._attempts.append(event.attempt)
        self._steps.append(None)
        if place == len(self._columns["configuration"]):
            self._columns = {name: np.concatenate([c, np.zeros_like(c)]) for name, c in self._columns.items()}
        self._columns["configuration"][place] = number
        return place

    def _fits(self, event: Added) -> bool:
        """Whether a recorded proposal belongs to this space: a restored ledger may be of an edited one."""
        inside = all(0 <= level < n for level, n in zip(event.levels, self._space.sizes, strict=False))
        same = len(event.levels) == len(self._space.sizes)
        return same and inside and {axis.name for axis in self._space.axes} <= set(event.start)

    def _tell(self, place: int, event: Event) -> None:
        """Change a row by an event as the ledger changes its record."""
        if isinstance(event, Reported):
            self._report(place, event)
        elif isinstance(event, Decision):
            self._columns["pruned"][place] |= event.prunes
            self._columns["diverged"][place] |= event.diverged
        elif isinstance(event, Added | Completed | Errored) and event.attempt >= self._attempts[place]:
            self._columns["errored"][place] = isinstance(event, Errored) and event.final and not event.lost
            self._columns["live"][place] = isinstance(event, Added) or (isinstance(event, Errored) and not event.final)
            if isinstance(event, Added):
                self._attempts[place] = event.attempt

    def _report(self, place: int, event: Reported) -> None:
        columns, latest = self._columns, self._steps[place]
        columns["diverged"][place] |= not event.finite
        if latest is None or event.step > latest:
            self._steps[place], columns["reported"][place] = event.step, True
            guess = [_bounded(event.final), _bounded(event.deviation or 0.0)]
            columns["last"][place], columns["last_deviation"][place] = guess
            if event.slopes:
                self.slopes[int(columns["configuration"][place])] = event.slopes
            if event.mean is not None:
                columns["foretold"][place] = True
                columns["forecast"][place], columns["forecast_deviation"][place] = guess


def _bounded(loss: float) -> float:
    """`loss` so that differences and squares do not overflow; one that is not a number is as bad as can be."""
    return _WORST if math.isnan(loss) else min(max(loss, -_WORST), _WORST)
