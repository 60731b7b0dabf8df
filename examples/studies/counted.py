"""A clock that counts instead of measuring: sessions whose time budget leads to the same windows on every machine.

One plain step takes one unit. What else a session does has its price; without measured ones, a step of a window takes
2.2 more, each validation batch of its outer gradient 1.33, and each of a report a third: what the engine costs on
networks that are not dominated by Python.
"""

from collections.abc import Mapping
from typing import Any

from ray_glocal import GlocalSession
from ray_glocal.session.pacing.cost import CONTEST, PLAIN, PROBE, REPORT, SEARCH, UPKEEP, WINDOW
from ray_glocal.session.pacing.meter import Meter

STEP, OUTER, FORWARD = 2.2, 1.33, 1 / 3  # in plain steps
PROBED = 11  # forward passes of the probe, and a step
FIRST = "first "  # before a kind: the price of the first of it, where that is another


class CountedMeter(Meter):
    """A session's meter, whose seconds are plain steps.

    Args:
        meter: The session's own, fresh.
        prices: Plain steps that a report and a window of either kind take beyond their own, and the upkeep of a step.
    """

    def __init__(self, meter: Meter, prices: Mapping[str, float]) -> None:
        super().__init__(meter.cost, meter._device, lambda: self.units, meter._ranks)
        self.units, self._prices = 0.0, {CONTEST: 0.0, PROBE: PROBED * FORWARD, **prices}

    def step(self) -> None:
        """One unit, or what a step takes that does more, and the upkeep on the session's own account."""
        self.units += self._prices.get(PLAIN, 1.0)
        super().step()
        self.units += self._prices.get(UPKEEP, 0.0)

    def complete(self, kind: str) -> None:
        """A report, or a window."""
        known = self._prices[kind]
        self.units += known if kind in self._met else self._prices.get(FIRST + kind, known)
        super().complete(kind)


def counted(session: GlocalSession, prices: Mapping[str, float] | None = None) -> GlocalSession:
    """The same session, fresh, by a clock of its own."""
    whole: Any = session  # its meter is replaced
    whole._meter = whole._course.meter = CountedMeter(session._meter, prices or by_count(session))
    if session.settings.hypergradients == "windows":
        whole._adaptation.differentiation._meter = whole._meter
    return session


def by_count(session: GlocalSession) -> dict[str, float]:
    """Prices by the count of passes."""
    outer = OUTER * session.validation.per_hypergradient
    if session.settings.hypergradients != "windows":
        reads = any(binding.field is None for binding in session.problem.bindings)
        price = outer + (4 * FORWARD if reads else 0.0)
        return {SEARCH: price, WINDOW: price, REPORT: FORWARD * session.validation.count}
    lengths = {SEARCH: session.settings.search_window, WINDOW: session.settings.window}
    windows = {kind: STEP * length + outer for kind, length in lengths.items()}
    return {**windows, REPORT: FORWARD * session.validation.count}
