"""What scheduler, searcher and Tune agree on: the metric, its direction, and one ledger for all."""

from __future__ import annotations

from ray_glocal.errors import ArgumentError
from ray_glocal.tune._compat import wrapped_searcher
from ray_glocal.tune.logbook import Logbook
from ray_glocal.tune.reading import Reading, agreed
from ray_glocal.tune.search import GlocalSearch


class Agreement:
    """What was said in one place or in several, and the searcher beside the scheduler.

    Args:
        logbook: The scheduler's, until it shares that of a searcher.
    """

    def __init__(self, logbook: Logbook) -> None:
        self._logbook = logbook
        self.search: GlocalSearch | None = None  # none beside another searcher
        self._metric: str | None = None
        self._mode: str | None = None

    @property
    def metric(self) -> str | None:
        """Which counts; None before somebody has said it."""
        return self._metric

    @property
    def complete(self) -> bool:
        """Whether somebody has said which metric counts, and somebody in which direction."""
        return bool(self._metric and self._mode)

    def take(self, metric: str | None, mode: str | None) -> None:
        """Hear what was said, and what the searcher was told.

        Raises:
            ArgumentError: Two places say different things.
        """
        search = self.search
        for name in (metric, search.metric if search else None):
            self._metric = agreed("metric", self._metric, name)
        for name in (mode, search.mode if search else None):
            self._mode = agreed("mode", self._mode, name)

    def find(self, search: object) -> None:
        """Share the ledger of the searcher that was named, where one was.

        Raises:
            ArgumentError: It is none of ours.
        """
        found = wrapped_searcher(search)
        if isinstance(found, GlocalSearch):
            self.search = found
            self._logbook.share(found.ledger)
        elif search is not None:
            remedy = "Leave it out beside another searcher; the scheduler then keeps its own memory."
            raise ArgumentError("search", "be a GlocalSearch", search, remedy)

    def meet(self, running: object) -> None:
        """Share the ledger of the searcher that really runs, which may be a copy of the one that was named.

        Raises:
            ArgumentError: It is none of ours, and one was named; or it was told something else.
        """
        if isinstance(running, GlocalSearch):
            if running is not self.search:
                self.find(running)
                self.take(None, None)
        elif self.search is not None:
            remedy = "Pass the same object as `search_alg`, or leave `search` out."
            raise ArgumentError("search", "be the searcher that proposes the trials", running, remedy)

    def reading(self, time_attr: str, forecast_of: str, bounds: tuple[float, float] | None) -> Reading:
        """How results are read.

        Args:
            time_attr: As for `Reading`, and so are the others.
            forecast_of: The metric whose end a session's own forecast tells.
            bounds: Least and greatest value of the metric.

        Raises:
            ArgumentError: Nobody has said which metric counts, or in which direction.
        """
        slopes = self.search.ordinal if self.search is not None else ()
        return Reading(self._metric or "", self._mode or "", time_attr, forecast_of, slopes, bounds)
