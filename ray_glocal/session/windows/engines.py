"""Which engine differentiates the windows of a session: as it was told, by count, or by what both were found to cost.

Forward trajectories foretell better than lag ones, but each of their steps takes a product for every hyperparameter
entry and a validation gradient of its own.
"""

from collections.abc import Mapping
from typing import Any, Literal

from ray_glocal.session.pacing.cost import SEARCH, WINDOW
from ray_glocal.session.settings import Settings
from ray_glocal.session.windows.tuning import FEW_ENTRIES, WORTH

Engine = Literal["adjoint", "forward"]


class Engines:
    """The engine of each kind of window.

    Args:
        settings: An engine or `auto`; a duty cycle, whose runs are the same on every machine, or a budget.
        entries: Number q of hyperparameter entries.
        annealed: Whether the learning-rate schedule lowers the rates in the end.
    """

    def __init__(self, settings: Settings, entries: int, annealed: bool) -> None:
        self._settings, self._annealed = settings, annealed
        tails = {SEARCH: self.tail(SEARCH, settings.search_window), WINDOW: self.tail(WINDOW, settings.window)}
        self._given = {kind: given(settings, entries, annealed, tail > 1) for kind, tail in tails.items()}
        self._chosen: dict[str, Engine] = {}
        self._least: dict[str, float] = {}  # seconds that the adjoint engine took at least, while none is chosen

    def tail(self, kind: str, length: int) -> int:
        """Steps at a window's end over whose mean parameters its outer loss is read; 1 for the last ones alone."""
        return max(1, round(self._settings.tail * length)) if self._annealed and kind == WINDOW else 1

    def of(self, kind: str) -> Engine:
        """Which one differentiates the next window of a kind: the adjoint as long as none is chosen."""
        return self._given[kind] or self._chosen.get(kind, "adjoint")

    def undecided(self, kind: str) -> bool:
        """Whether prices decide, and are still to be found."""
        return self._given[kind] is None and kind not in self._chosen

    def met(self, kind: str, seconds: float) -> float | None:
        """Note what the adjoint engine took for a window.

        Returns:
            The least so far; None at the first window, which sets things up.
        """
        known = self._least.get(kind)
        self._least[kind] = seconds if known is None else min(seconds, known)
        return None if known is None else self._least[kind]

    def choose(self, kind: str, engine: Engine) -> None:
        """Differentiate all later windows of a kind by an engine."""
        self._chosen[kind] = engine

    def as_plain(self) -> dict[str, Any]:
        """What was found, as plain data."""
        return {"settled": dict(self._chosen), "least": dict(self._least)}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        self._chosen, self._least = dict(plain["settled"]), dict(plain["least"])


def given(settings: Settings, entries: int, annealed: bool, mean: bool) -> Engine | None:
    """The engine of a kind of window where no price decides; None where prices do.

    Args:
        settings: See `Engines`.
        entries: See `Engines`.
        annealed: See `Engines`.
        mean: Whether its outer loss is read at mean parameters, as only the adjoint engine can.
    """
    if settings.engine != "auto":
        return settings.engine
    if mean or settings.products != "exact":
        return "adjoint"
    if settings.shares is None:
        return "forward" if entries == 1 and not annealed else "adjoint"
    return None if entries <= FEW_ENTRIES else "adjoint"


def worthwhile(forward: float, adjoint: float) -> bool:
    """Whether the forward engine is worth so many seconds; not by a clock that stands still."""
    return forward < WORTH * adjoint
