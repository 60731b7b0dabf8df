"""The table of decisions, each with its reason: proposals of the searcher, answers of the scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ray_glocal.names import ACTION, DEVIATION, FORECAST, REASON, RULE, STEP, TRIAL
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.page.chart import Section, Table
from ray_glocal.report.page.figures import counted, rounded
from ray_glocal.report.page.life import Life

HEADS = ("number", "trial", "step", "decision", "rule", "forecast", "deviation", "reason")


@dataclass(frozen=True)
class Decided:
    """A decision.

    Args:
        number: Its place among all, from 1, those of a restored memory included.
        trial: Tune's trial id.
        step: Step of the result that was judged; 0 of a proposal.
        decision: "propose", "continue" or "stop".
        rule: Rule that answered, or the way in which the trial was proposed.
        forecast: Final value that was judged, in the metric's own direction; None where there was none.
        deviation: Its standard deviation; None where unknown.
        reason: Why, in sentences.
    """

    number: int
    trial: str
    step: float
    decision: str
    rule: str
    forecast: float | None
    deviation: float | None
    reason: str


def decisions(experiment: Experiment, lives: Sequence[Life]) -> tuple[Decided, ...]:
    """All decisions: the proposals in the order of the trials, each before the answers to its trial's results."""
    place = {run.id: i for i, run in enumerate(experiment.runs)}
    proposed = [(life.trial, 0.0, "propose", life.origin, None, None, life.proposal) for life in lives if life.origin]
    proposed.sort(key=lambda row: place[row[0]])
    rows = [*proposed, *_answers(experiment)]
    return tuple(
        Decided(i, trial, rounded(step) or 0, decision, rule, rounded(mean), rounded(deviation), reason)
        for i, (trial, step, decision, rule, mean, deviation, reason) in enumerate(rows, start=1)
    )


def _answers(experiment: Experiment) -> list[tuple[str, float, str, str, float | None, float | None, str]]:
    """The scheduler's table where it is newer than the ledger, or else the ledger, as while an experiment runs."""
    table, ledger = experiment.decisions, experiment.ledger
    known = ledger.decisions if ledger is not None else ()
    if len(table) >= len(known):
        return [(d[TRIAL], d[STEP], d[ACTION], d[RULE], d[FORECAST], d[DEVIATION], d[REASON]) for d in table]
    sign = experiment.sign
    return [
        (
            d.trial,
            d.step,
            d.action.value,
            d.rule,
            None if d.mean is None else sign * d.mean,
            d.deviation,
            experiment.rephrased(d.reason),
        )
        for d in known
    ]


def section(listed: Sequence[Decided]) -> Section:
    """The table."""
    if not listed:
        text = "Neither a GlocalScheduler nor a GlocalSearch took part, so no decision is recorded."
        return Section("decisions", "Decisions", "No decision is recorded", (text,))
    kinds = Counter(each.decision for each in listed)
    title = f"{counted(len(listed), 'decision')}: " + ", ".join(
        f"{n:,} {_PAST[kind]}" for kind, n in kinds.most_common()
    )
    rows = tuple(tuple(getattr(each, head) for head in HEADS) for each in listed)
    caption = "Every decision of scheduler and searcher. Click a heading, or press Enter on it, to sort by it."
    return Section("decisions", "Decisions", title, table=Table("decisions-table", caption, HEADS, rows, ("reason",)))


_PAST = {"propose": "proposed a trial", "continue": "let one go on", "stop": "stopped one"}
