"""The judge: results of trials become reports, the logbook keeps them, and the rules answer with decisions."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import Any

from ray_glocal.names import SIGN
from ray_glocal.scheduling.attained import Lowest
from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Reported, Settled
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.tune.curve import forecast_at
from ray_glocal.tune.logbook import Logbook
from ray_glocal.tune.reading import Reading
from ray_glocal.tune.rulebook import Rulebook
from ray_glocal.tune.terms import Terms

logger = logging.getLogger(__name__)


class Judge:
    """Judges the trials of one experiment after another.

    Args:
        terms: What was said of it.
        logbook: Where reports and decisions are recorded.
    """

    def __init__(self, terms: Terms, logbook: Logbook) -> None:
        self.terms, self._logbook = terms, logbook
        self.reading: Reading | None = None  # none before somebody has said which metric counts
        self.rulebook: Rulebook | None = None  # none before an experiment's first result
        self._unread: dict[str, frozenset[str]] = {}  # names in the first result that lacks the metric, by trial

    @property
    def ladder(self) -> Ladder | None:
        """The rungs, once they are settled."""
        return None if self.rulebook is None else self.rulebook.ladder

    def answer(self, trial: str, result: dict[str, Any]) -> Decision | None:
        """Record a result, and what the rules say to it; None where they say nothing."""
        report = self._report(trial, result)
        if report is None:
            return None
        rulebook = self.rulebook = self.rulebook or self._settle(result)
        report = self._recorded(report, rulebook.ladder, result)
        decision = rulebook.answer(self._logbook.ledger, report)
        if decision is not None and self._logbook.record(decision) and decision.prunes:
            assert self.reading is not None
            logger.info("Trial %s is pruned. %s", trial, self.reading.rephrased(decision.reason))
        return decision

    def note(self, trial: str, result: dict[str, Any]) -> None:
        """Record the last result of a trial that is over: no answer would reach it."""
        report = self._report(trial, result)
        if report is not None:
            self._logbook.record(report)

    def recall(self, trial: str, results: Iterable[dict[str, Any]]) -> None:
        """Record those results of a restored trial that a memory older than the experiment lacks: no answer reaches it.

        Without them forecasts, and who is ahead on a rung, would depend on the moment at which the driver died.
        """
        for result in results:
            report = self._report(trial, result)
            if report is not None:
                self.rulebook = self.rulebook or self._settle(result)
                self._recorded(dataclasses.replace(report, recalled=True), self.rulebook.ladder, result)

    def say_unread(self, trial: str) -> None:
        """Say of a trial that is over that it ran unjudged, where it never reported the metric.

        Tune itself refuses such a result, unless it was told not to.
        """
        record, reported = self._logbook.ledger.trial(trial), self._unread.pop(trial, None)
        if reported is not None and self.reading is not None and (record is None or record.latest is None):
            names = sorted(name for name in reported if not name.startswith("config/"))
            logger.error("Trial %s never reported the metric `%s`; it reported %s.", trial, self.reading.metric, names)

    def _report(self, trial: str, result: dict[str, Any]) -> Reported | None:
        lowest = self._logbook.ledger.view(Lowest()).lowest
        report = self.reading.report(trial, result, lowest) if self.reading is not None else None
        if report is None:
            self._unread.setdefault(trial, frozenset(result))
            return None
        return report if report.total is None else dataclasses.replace(report, total=self.terms.end(result))

    def _settle(self, result: dict[str, Any]) -> Rulebook:
        """Fix the rulebook at the first result: it may depend on `total_steps`, and must outlive a restore."""
        wanted = self.terms.rulebook(result)
        for setting in wanted.settings():
            self._logbook.record(setting)
        if self.reading is not None:
            self._logbook.record(Settled(SIGN + self.reading.metric, self.reading.sign))
        settled = Rulebook.settled(self._logbook.ledger, self.terms.rules)
        if settled != wanted:
            logger.warning(
                "The experiment goes on with %s, as it began; %s is not used.", settled.ladder, wanted.ladder
            )
        return settled

    def _recorded(self, report: Reported, ladder: Ladder, result: dict[str, Any]) -> Reported:
        """The report as it is recorded, with a forecast where it needs one."""
        report = self._plausible(self._forecast(report, ladder, result))
        self._logbook.record(report)
        return report

    def _forecast(self, report: Reported, ladder: Ladder, result: dict[str, Any]) -> Reported:
        """The report with a forecast of our own where it has none and stands on a new rung: forecasts cost time."""
        record = self._logbook.ledger.trial(report.trial)
        if report.mean is not None or not report.finite or record is None:
            return report
        rung = ladder.rung(ladder.clock(report))
        if rung < 0 or (record.latest is not None and rung <= ladder.rung(ladder.clock(record.latest))):
            return report
        # Where nobody says when training ends, trials are compared by what they will have reached at the next rung.
        target = self.terms.end(result) or ladder.milestone(rung + 1)
        mean, deviation = forecast_at(self.terms.forecaster, [*record.losses, (report.step, report.loss)], target)
        return dataclasses.replace(report, mean=mean, deviation=deviation)

    def _plausible(self, report: Reported) -> Reported:
        """The report with a forecast of what can be: within the metric's range, and near what anybody has reached."""
        if report.mean is None or self.reading is None:
            return report
        attained = self._logbook.ledger.view(Lowest())
        possible = self.reading.possible(report.mean, report.loss, attained.lowest)
        mean = max(possible, attained.least(report.loss, report.deviation))
        return report if mean == report.mean else dataclasses.replace(report, mean=mean)
