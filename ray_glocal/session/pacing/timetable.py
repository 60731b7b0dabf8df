"""Timetables: which inner steps belong to a window, by a fixed duty cycle or by a budget of time."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.budget import Budget, Prices, reports_every
from ray_glocal.session.pacing.cost import PLAIN, REPORT, SEARCH, UPKEEP, WINDOW, Cost
from ray_glocal.session.settings import Settings


class Timetable(Protocol):
    """Says when windows start; steps are counted from the start of training."""

    def searches(self, step: int) -> bool:
        """Whether a window of the search starts after `step` inner steps."""
        ...

    def starts(self, step: int) -> bool:
        """Whether a later window does."""
        ...

    def exhausted(self, step: int) -> bool:
        """Whether the search, if it is still on, can afford no further window."""
        ...

    def plan(self, step: int) -> None:
        """Plan the next window: one has just ended, or the search, or a path that was given up."""
        ...

    def review(self, step: int) -> None:
        """At a report: plan anew where no window is planned."""
        ...

    def hypergradients_left(self, step: int) -> int:
        """Hypergradients that will be taken after `step`, as far as can be foreseen."""
        ...

    def foreseen(self, *, searching: bool) -> int:
        """Hypergradients that the whole run will buy, roughly, before anything is measured.

        Args:
            searching: Whether it begins with a search.
        """
        ...

    def scarcity(self) -> str:
        """The sentence that says why there may be none, with the way out."""
        ...

    def as_plain(self) -> dict[str, Any]:
        """What a resumed run must know, as plain data."""
        ...

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        ...


class DutyCycle:
    """The same share of every run: the last `window` steps of each period, and a search without a pause.

    Args:
        settings: Window lengths and duty cycle.
        total_steps: A window that would end with training, when nothing is left to decide, does not start.
    """

    def __init__(self, settings: Settings, total_steps: int) -> None:
        self._settings, self._total = settings, total_steps

    def searches(self, step: int) -> bool:
        """Short windows follow each other at once: a start value that is off by decades is left in few of them."""
        return step + self._settings.search_window < self._total

    def starts(self, step: int) -> bool:
        """A window ends with each period."""
        length, period = self._settings.window, self._settings.period
        return step % period == period - length and step + length < self._total

    def exhausted(self, step: int) -> bool:
        """Never: a duty cycle counts no cost."""
        return False

    def plan(self, step: int) -> None:
        """Nothing to plan."""

    def review(self, step: int) -> None:
        """Nothing to plan."""

    def hypergradients_left(self, step: int) -> int:
        """Periods that end after `step` and before the last step."""
        period = self._settings.period
        return max(0, (self._total - 1) // period - step // period)

    def foreseen(self, *, searching: bool) -> int:
        """Its periods, and one of the search at least."""
        return max(self.hypergradients_left(0), int(searching and self.searches(0)))

    def scarcity(self) -> str:
        """Windows are too long, or too far between."""
        window, period = self._settings.window, self._settings.period
        return (
            f"In {self._total} steps no hypergradient is complete before the last one: each takes {window} steps, one "
            f"in {period}. Train longer, set `Settings(window=..., search_window=...)` to fewer steps, or "
            "raise `duty_cycle`."
        )

    def as_plain(self) -> dict[str, Any]:
        """Nothing to remember."""
        return {}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""


class BudgetTimetable:
    """Windows when they are affordable: the search borrows ahead, what is left is spent early rather than late.

    Plans are made at a window's end and at reports, by measured prices; machines differ in these, and so in the plan.

    Args:
        budget: The whole run's; how often it reports is known once training has begun.
        settings: Window lengths.
        cost: What was spent, and typical prices.
        counted: Gives the inner-step equivalents of a `search` window, of a later `window` and of a `report`: their
            prices until they are measured.
        notices: Where to say that there is no room for hypergradients.
    """

    def __init__(
        self,
        budget: Callable[[], Budget],
        settings: Settings,
        cost: Cost,
        counted: Callable[[str], float],
        notices: Notices,
    ) -> None:
        self._planned_budget, self._settings, self._cost, self._counted = budget, settings, cost, counted
        self._notices = notices
        self._start: int | None = None  # of the next window
        self._planned = False

    def searches(self, step: int) -> bool:
        """Short windows follow each other at once, once it is known what a plain step costs."""
        return self._learned and step + self._settings.search_window < self._total and self._affords_search(step)

    def exhausted(self, step: int) -> bool:
        """Whether it has spent what it may, or not even one window is affordable."""
        return self._learned and not self._affords_search(step)

    def starts(self, step: int) -> bool:
        """As planned, if it is still affordable."""
        if not self._planned and self._learned:
            self.plan(step)
        if self._start is None or step < self._start:
            return False
        if step + self._settings.window <= self._budget.last and self._fits(step):
            return True
        self._start = None  # until a report finds that there is room again
        return False

    def plan(self, step: int) -> None:
        """The next window ends one period after `step`."""
        if not self._learned:
            return
        window, known = self._settings.window, self._prices(WINDOW)
        self._planned = True
        period = self._budget.period(step, self._cost.extra_seconds, known, window)
        self._start = None if period is None else step + period - window

    def review(self, step: int) -> None:
        """There may be room where earlier prices were too high; there is none where reports alone take it all."""
        trouble = self._budget.exceeded(self._prices(WINDOW)) if self._learned else ""
        if trouble:
            self._notices.say("reports", trouble)
        if self._planned and self._start is None:
            self.plan(step)

    def hypergradients_left(self, step: int) -> int:
        """What the rest of the budget buys at the present price."""
        if not self._learned:
            return 0
        known = self._prices(WINDOW)
        free = self._budget.free(step, self._cost.extra_seconds, known)
        room = max(0, self._budget.last - step) // self._settings.window
        return max(0, min(room, int(free / known.window) if known.window > 0 else room))

    def foreseen(self, *, searching: bool) -> int:
        """What the budget buys by counted prices."""
        search, window = (self._by_count(kind) for kind in (SEARCH, WINDOW))
        room = min(self._budget.last // self._settings.window, int(self._budget.free(0, 0.0, window) / window.window))
        affords = self._settings.search_window < self._total and self._may_search(0, 0.0, 0.0, search)
        return max(0, room, int(searching and affords))

    def scarcity(self) -> str:
        """They cost more than the budget has."""
        known = self._by_count(WINDOW)
        share = self._budget.share(known)
        free = max(0.0, self._budget.free(0, 0.0, known))
        return (
            f"`overhead` allows {100 * share:.3g} % of {self._total} steps, {free:.3g} of them once reports are paid, "
            f"and a hypergradient costs about {known.window:.3g}. Train longer, raise `Settings(overhead=...)`, or set "
            "`Settings(window=..., search_window=...)` to fewer steps."
        )

    def _by_count(self, kind: str) -> Prices:
        return Prices(1.0, self._counted(kind), self._counted(REPORT))

    @property
    def _budget(self) -> Budget:
        return self._planned_budget()

    @property
    def _total(self) -> int:
        return self._budget.total_steps

    @property
    def _learned(self) -> bool:
        """Whether it is known what a plain step costs."""
        return self._cost.typical(PLAIN) is not None

    def _affords_search(self, step: int) -> bool:
        return self._may_search(step, self._cost.extra_seconds, self._cost.searched, self._prices(SEARCH))

    def _may_search(self, step: int, spent: float, searched: float, prices: Prices) -> bool:
        if self._settings.hypergradients == "first-order":
            return self._budget.affords(searched, prices)
        return self._budget.searches(step, spent, searched, prices)

    def _fits(self, step: int) -> bool:
        known = self._prices(WINDOW)
        return known.window <= self._budget.free(step, self._cost.extra_seconds, known)

    def _prices(self, kind: str) -> Prices:
        """Typical prices; of a kind of window that was not measured yet, by its counted cost."""
        plain = self._cost.typical(PLAIN) or 0.0
        other = WINDOW if kind == SEARCH else SEARCH
        window = self._cost.typical(kind)
        if window is None:
            measured = self._cost.typical(other)
            window = self._counted(kind) * (plain if measured is None else measured / self._counted(other))
        report = self._cost.typical(REPORT)
        report = self._cost.first.get(REPORT, 0.0) if report is None else report
        foreseen = self._cost.plain_seconds + (self._total - self._cost.timed_steps) * plain
        mean = min(plain, foreseen / self._total)  # neither a pause nor a slow start earns anything
        return Prices(mean, window, report, self._cost.typical(UPKEEP) or 0.0)

    def as_plain(self) -> dict[str, Any]:
        """The plan."""
        return {"start": self._start, "planned": self._planned}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        if plain:
            self._start, self._planned = plain["start"], plain["planned"]


def report_period(settings: Settings, steps: float, total: int) -> int:
    """Inner steps between reports, of which each costs so many inner-step equivalents, in a run of `total` steps."""
    if settings.report_every is not None or settings.shares is None:
        return settings.report_every or settings.period
    return reports_every(settings.shares[0], settings.period, steps, total)


def timetable(
    settings: Settings,
    total_steps: int,
    reports: Callable[[], int],
    cost: Cost,
    counted: Callable[[str], float],
    notices: Notices,
) -> Timetable:
    """The timetable that the settings ask for.

    Args:
        settings: A duty cycle or a budget.
        total_steps: Inner steps of the run.
        reports: Gives the inner steps between reports.
        cost: See `BudgetTimetable`.
        counted: See `BudgetTimetable`.
        notices: See `BudgetTimetable`.
    """
    shares = settings.shares
    if shares is None:
        return DutyCycle(settings, total_steps)
    return BudgetTimetable(lambda: Budget(*shares, total_steps, reports()), settings, cost, counted, notices)
