"""The budget: when the next window may start so that the whole run stays within its share of extra time."""

import math
from dataclasses import dataclass

from ray_glocal.session.pacing.tuning import COMPARED, COMPARING, FRONT, LATE, REPORTS, SEARCH_SHARE, THIRDS, WANTED


@dataclass(frozen=True)
class Prices:
    """What things cost now, in any one unit of time.

    Args:
        plain: One plain step, in the mean over the run as far as it can be foreseen.
        window: One window beyond its plain steps.
        report: One report.
        upkeep: Bookkeeping of one plain step.
    """

    plain: float
    window: float
    report: float = 0.0
    upkeep: float = 0.0


@dataclass(frozen=True)
class Budget:
    """Extra time as a share of plain training's, over a whole run.

    Args:
        overhead: The share.
        most: What it grows to, where it buys too few hypergradients for anything to be learned of them.
        total_steps: Inner steps of the run.
        report_period: Inner steps between reports, which come whatever they cost.
    """

    overhead: float
    most: float
    total_steps: int
    report_period: int

    def free(self, step: int, spent: float, prices: Prices) -> float:
        """What the rest of the run may still spend on windows; negative where it has overspent.

        Args:
            step: Inner steps taken.
            spent: All that was spent so far on anything but plain steps.
            prices: Of now; they stand for those of the whole run.
        """
        return self._allowed(prices) - spent - self._fixed(prices, step)

    def _allowed(self, prices: Prices) -> float:
        """What the whole run may spend on anything but plain steps."""
        plain = prices.plain * self.total_steps
        wanted = self._fixed(prices, 0) + WANTED * prices.window
        return min(max(self.overhead * plain, wanted), self.most * plain)

    def share(self, prices: Prices) -> float:
        """The share that these prices lead to."""
        return self._allowed(prices) / (prices.plain * self.total_steps)

    def _fixed(self, prices: Prices, step: int) -> float:
        """What reports and bookkeeping will take from `step` on."""
        left = self.total_steps - step
        return math.ceil(left / self.report_period) * prices.report + left * prices.upkeep

    def searches(self, step: int, spent: float, searched: float, prices: Prices) -> bool:
        """Whether the search may go on with a window of its own; it may borrow from what the run will earn.

        Args:
            step: Inner steps taken.
            spent: All that was spent so far.
            searched: What the search spent of it.
            prices: Of now, the window's that of the search.
        """
        free = self.free(step, spent, prices)
        return prices.window <= free and searched + prices.window <= SEARCH_SHARE * (free + searched)

    def affords(self, searched: float, prices: Prices) -> bool:
        """Whether a cheap search may go on: its share of the whole budget is its own, whatever else takes.

        Args:
            searched: What the search spent so far.
            prices: Of now, the window's that of the search.
        """
        return searched + prices.window <= SEARCH_SHARE * self._allowed(prices)

    def period(self, step: int, spent: float, prices: Prices, window: int) -> int | None:
        """Inner steps from the last window's end to the next one's; None where none is affordable or pays off.

        Evenly spaced windows would come every n-th step; these come at first in half the time. Rounded down to a power
        of two of the window's length, it is mostly the same where prices differ a little.

        Args:
            step: Inner steps taken at the last window's end, or when the search ended.
            spent: All that was spent so far.
            prices: Of now.
            window: Inner steps of a window.
        """
        free, left = self.free(step, spent, prices), self.total_steps - step
        if prices.window > free:
            return None
        even = left * max(prices.window, 0.0) / free if free > 0 else 0.0
        doublings = math.floor(math.log2(max(1.0, even / FRONT / window)))
        return window << doublings

    def exceeded(self, prices: Prices) -> str:
        """The sentence that says that reports alone cost more than the budget allows; empty where they do not."""
        share = prices.report / (self.report_period * prices.plain) if prices.plain > 0 else 0.0
        if share <= self.most:
            return ""
        most, period = self.most, self.report_period
        return (
            f"Reports alone cost {100 * share:.3g} % of plain training, and `overhead` allows {100 * most:.3g} % for "
            f"all that a session adds: {prices.report:.3g} s every {period} steps of {prices.plain:.3g} s. No room is "
            "left for hypergradients. Report less often, by `Settings(report_every=...)`, or hand the session fewer or "
            "smaller `val_batches`."
        )

    @property
    def last(self) -> int:
        """Step after which no window ends."""
        return math.ceil((1 - LATE) * self.total_steps) - 1


def reports_every(overhead: float, least: int, steps: float, total: int) -> int:
    """Inner steps between reports, so that trials have one wherever they are compared: at a ninth, a third, two thirds.

    A whole number of ninths: as many as take a small share of the budget, but one by one where that is affordable at
    all. Else there are three reports, or one.

    Args:
        overhead: The budget's share of plain training.
        least: Inner steps between reports, unless a training has too few for a report each ninth.
        steps: Counted cost of a report, in inner-step equivalents.
        total: Inner steps of the run.
    """
    budget = overhead * total
    many = min(total // least, int(REPORTS * budget / steps)) // COMPARED * COMPARED
    few = next((count for count in (COMPARED, THIRDS) if count * steps <= COMPARING * budget), 1)
    return max(1, math.ceil(total / (many or few)))
