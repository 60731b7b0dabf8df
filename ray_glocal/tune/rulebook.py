"""All that answers depend on besides the ledger, itself written into the ledger: so a ledger can be replayed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import FINISHED, Action, Decision
from ray_glocal.scheduling.event import Reported, Settled
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rules import RULES, Rule, judge, rules_named
from ray_glocal.scheduling.rungs import Ladder

GRACE, FACTOR, END, SHARES = "grace_period", "reduction_factor", "max_t", "parts"
_RULE = "rule/"  # settings that name the rules; their values are positions
_OWN = -1.0  # value of a rule that is not the library's, so that its name says nothing about what it does


@dataclass(frozen=True)
class Rulebook:
    """The ladder, the rules in their order, and where a trial is done.

    Args:
        ladder: The rungs.
        rules: Asked in this order.
        max_t: Steps after which a trial is done; None for no end.
    """

    ladder: Ladder
    rules: tuple[Rule, ...]
    max_t: float | None = None

    @classmethod
    def of(cls, grace: int, factor: int, max_t: float | None, rules: Sequence[str | Rule], parts: int = 0) -> Rulebook:
        """The rulebook that settings of a scheduler stand for; with `parts`, on the clock of each trial's own training.

        Raises:
            ArgumentError: A setting is out of its range or a rule is not known.
        """
        ladder = Ladder(grace, factor, parts or max_t, parts)
        return cls(ladder, rules_named(rules, ladder), max_t)

    @classmethod
    def settled(cls, ledger: Ledger, rules: Sequence[str | Rule] | None = None) -> Rulebook:
        """The rulebook that a ledger was written by.

        Args:
            ledger: A ledger of a `GlocalScheduler`.
            rules: Rules to use; None for those that the ledger names.

        Raises:
            ArgumentError: The ledger holds no settings of a scheduler, or names a rule that is not the library's.
        """
        grace, factor, end = (ledger.settled(name) for name in (GRACE, FACTOR, END))
        if grace is None or factor is None or end is None:
            remedy = "Only experiments under a GlocalScheduler hold decisions that can be replayed."
            raise ArgumentError(
                "ledger", f"hold the settings {GRACE}, {FACTOR} and {END}", [grace, factor, end], remedy
            )
        names = _names(ledger) if rules is None else rules
        return cls.of(
            int(grace), int(factor), end if math.isfinite(end) else None, names, int(ledger.settled(SHARES) or 0)
        )

    def settings(self) -> tuple[Settled, ...]:
        """What the ledger has to hold for `settled` to find this rulebook again."""
        named = [Settled(_RULE + rule.name, i if self._known(rule) else _OWN) for i, rule in enumerate(self.rules)]
        end = math.inf if self.max_t is None else self.max_t
        shares = [Settled(SHARES, self.ladder.parts)] if self.ladder.parts else []
        return (
            Settled(GRACE, self.ladder.grace),
            Settled(FACTOR, self.ladder.factor),
            Settled(END, end),
            *shares,
            *named,
        )

    def answer(self, ledger: Ledger, report: Reported) -> Decision | None:
        """The answer to `report`, which the ledger already holds: STOP by a rule, else the end, else CONTINUE.

        None where no answer would reach the trial.
        """
        if report.recalled:
            return None
        decision = None if report.ended else judge(ledger, report, self.rules)
        return decision if decision is not None and decision.stops else self._finished(report) or decision

    def _finished(self, report: Reported) -> Decision | None:
        if self.max_t is None or report.step < self.max_t:
            return None
        reason = f"Step {report.step:g} reaches max_t, {self.max_t:g}: the trial is done."
        return Decision(report.trial, report.step, Action.STOP, FINISHED, reason, report.mean, report.deviation)

    def _known(self, rule: Rule) -> bool:
        """Whether the name alone says what the rule does."""
        return rule.name in RULES and RULES[rule.name](self.ladder) == rule


def _names(ledger: Ledger) -> list[str]:
    found = [e for e in ledger.events if isinstance(e, Settled) and e.name.startswith(_RULE)]
    foreign = [e.name.removeprefix(_RULE) for e in found if e.value == _OWN]
    if foreign:
        remedy = "Replay from Python and pass the rules: ray_glocal.report.replay(results, rules=[...])."
        raise ArgumentError("rules", "be the library's own to be found by name", foreign[0], remedy)
    return [e.name.removeprefix(_RULE) for e in sorted(found, key=lambda e: e.value)]
