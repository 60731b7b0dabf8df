"""Pruning rules: one file each, registered here, composed by `judge`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import NONFINITE, Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rules.nonfinite import NonFinite
from ray_glocal.scheduling.rules.rule import Rule
from ray_glocal.scheduling.rules.rung import Rung
from ray_glocal.scheduling.rungs import Ladder

# Whoever adds a rule writes one file and one line here. A rule that needs no ladder ignores it.
RULES: Mapping[str, Callable[[Ladder], Rule]] = {
    NONFINITE: lambda ladder: NonFinite(),
    "rung": Rung,
}


def rules_named(names: Sequence[str | Rule], ladder: Ladder) -> tuple[Rule, ...]:
    """Rules by name, in order; a rule that is already one stays as it is.

    Raises:
        ArgumentError: A name is not registered.
    """
    unknown = [name for name in names if isinstance(name, str) and name not in RULES]
    if unknown:
        raise ArgumentError("rules", f"name rules out of {sorted(RULES)}", unknown[0], "Or pass a rule itself.")
    return tuple(RULES[name](ladder) if isinstance(name, str) else name for name in names)


def judge(ledger: Ledger, event: Reported, rules: Sequence[Rule]) -> Decision | None:
    """The answer to `event`, which the ledger already holds: the first STOP, else the first CONTINUE, else None.

    A step that was already answered gets the same answer again, unless its loss has become non-finite since: the
    answers depended on what was known then.
    """
    past = ledger.decided(event.trial, event.step)
    if past is not None and event.finite:
        return past
    answers = [answer for rule in rules if (answer := rule(ledger, event)) is not None]
    return next((answer for answer in answers if answer.stops), answers[0] if answers else None)


__all__ = ["RULES", "Rule", "judge", "rules_named"]
