"""Replaying a ledger: whether its events, put to the rules once more, lead to the decisions that it records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ray_glocal.errors import ArgumentError
from ray_glocal.report import layout
from ray_glocal.report.experiment import aim, ledger_in
from ray_glocal.report.folder import opened
from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Completed, Reported
from ray_glocal.scheduling.ledger import Event, Ledger
from ray_glocal.scheduling.rules import Rule
from ray_glocal.scheduling.sentences import in_the_users_terms
from ray_glocal.tune.rulebook import Rulebook


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    Args:
        path: Where the experiment lies.
        reports: Results that were put to the rules.
        decisions: Recorded decisions that came out again.
        unverifiable: Recorded decisions on a step that a trial ran again after a failure or a restore, with another
            result than the first time: the ledger keeps the first only.
        difference: The first difference in a sentence; empty where there is none.
    """

    path: str
    reports: int
    decisions: int
    unverifiable: int
    difference: str

    @property
    def same(self) -> bool:
        """Whether every decision came out as recorded."""
        return not self.difference

    def __str__(self) -> str:
        counted = f"Results replayed: {self.reports}; decisions as recorded: {self.decisions}"
        if self.unverifiable:
            counted += f"; on repeated steps, whose results the ledger does not keep: {self.unverifiable}"
        verdict = "Every decision comes out as recorded." if self.same else f"First difference: {self.difference}"
        return f"{self.path}\n{layout.paragraph(counted)}.\n{layout.paragraph(verdict)}"


def replay(results: object, *, rules: Sequence[str | Rule] | None = None) -> Replay:
    """Put the events of a ledger to the rules once more.

    The last result of a trial is often not judged, because the trial or a stopper has ended it: that no decision
    follows it is no difference.

    Args:
        results: Path of an experiment, a `ray.tune.ResultGrid` or an `ExperimentAnalysis`.
        rules: The rules, for an experiment under rules of one's own; None for those that the ledger names.

    Returns:
        A `Replay`; print it. `same` is whether every decision came out as recorded, `difference` the first that did
        not, in a sentence, and `reports` and `decisions` say how many there were.

    Raises:
        ArgumentError: `results` is no experiment or holds no decisions of a `GlocalScheduler`, or its rules have to be
            passed.
    """
    folder = opened(results)
    ledger = ledger_in(folder)
    if ledger is None:
        remedy = "Only experiments under a GlocalScheduler can be replayed."
        raise ArgumentError("results", "hold a ledger", folder.path, remedy)
    found = rehearsed(ledger, rules, folder.path)
    return replace(found, difference=in_the_users_terms(found.difference, *aim(results, ledger)))


def rehearsed(ledger: Ledger, rules: Sequence[str | Rule] | None = None, path: str = "") -> Replay:
    """What putting the events of a ledger to the rules once more finds, told as losses; see `replay`."""
    return _Rehearsal(Rulebook.settled(ledger, rules)).run(path, ledger.events)


class _Rehearsal:
    """Runs through recorded events with a ledger of its own."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        self._ledger = Ledger()
        self._last: dict[str, Reported] = {}
        self._reports = self._decisions = self._unverifiable = 0

    def run(self, path: str, events: Sequence[Event]) -> Replay:
        self._last = {e.trial: e for e in events if isinstance(e, Reported)}
        difference, position = "", 0
        while position < len(events) and not difference:
            event = events[position]
            following = events[position + 1] if position + 1 < len(events) else None
            position += 1
            if isinstance(event, Reported):
                difference = self._answer(event, following)
                position += isinstance(following, Decision) and _same_place(event, following)
            elif isinstance(event, Decision):
                difference = self._answer_again(event)
            else:
                self._ledger.record(event)
        return Replay(path, self._reports, self._decisions, self._unverifiable, difference)

    def _answer(self, report: Reported, following: Event | None) -> str:
        """Put a report to the rules, and compare with the decision that follows it in the ledger, if one does."""
        self._ledger.record(report)
        recorded = following if isinstance(following, Decision) and _same_place(report, following) else None
        ended = isinstance(following, Completed) and following.trial == report.trial
        if recorded is None and (ended or report is self._last[report.trial]):
            return ""  # the trial ended with it (and may have come back since), or the ledger does
        self._reports += 1
        return self._compared(report, self._rulebook.answer(self._ledger, report), recorded)

    def _answer_again(self, recorded: Decision) -> str:
        """A decision without a new report: the trial had gone back, and passed the step a second time.

        After a failure that is a new attempt; after a restore of the experiment it is not.
        """
        report = self._first_report(recorded)
        if report is None:
            return f"a decision without a result to judge: {_shown(recorded)}."
        if self._rulebook.answer(self._ledger, report) == recorded:
            self._decisions += 1
        else:
            self._unverifiable += 1
        self._ledger.record(recorded)
        return ""

    def _compared(self, report: Reported, answer: Decision | None, recorded: Decision | None) -> str:
        if repr(answer) != repr(recorded):  # by repr, for NaN is not equal to itself
            where = f"trial {report.trial} at step {report.step:g}"
            return f"{where}: the ledger records {_shown(recorded)}; the rules answer {_shown(answer)}."
        if recorded is not None:
            self._decisions += 1
            self._ledger.record(recorded)
        return ""

    def _first_report(self, decision: Decision) -> Reported | None:
        known = (e for e in self._ledger.events if isinstance(e, Reported))
        return next((e for e in known if (e.trial, e.step) == (decision.trial, decision.step)), None)


def _same_place(report: Reported, decision: Decision) -> bool:
    return (report.trial, report.step) == (decision.trial, decision.step)


def _shown(decision: Decision | None) -> str:
    return "no decision" if decision is None else f"{decision.action.value} by {decision.rule} ({decision.reason})"


__all__ = ["Replay", "replay"]
