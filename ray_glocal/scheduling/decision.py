"""What a rule answers: an action, the rule's name, and a sentence with the numbers that led there."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum

from ray_glocal.errors import ArgumentError

FINISHED = "max_t"  # the one rule whose STOP is a natural end, not a verdict on the trial
NONFINITE = "nonfinite"  # the one rule whose STOP says that the trial has diverged


class Action(str, Enum):
    """What shall happen to a trial. Nothing is ever paused: a seeded successor takes a stopped trial's place."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer to one report of one trial, kept in the ledger beside the facts.

    Args:
        trial: Tune's trial id.
        step: Step of the report that was judged.
        action: What shall happen.
        rule: Name of the rule that answered.
        reason: A sentence with the numbers compared; never empty.
        mean: Forecast final loss that was judged, if any.
        deviation: Its standard deviation, if known.

    Raises:
        ArgumentError: `reason` is empty.
    """

    trial: str
    step: float
    action: Action
    rule: str
    reason: str
    mean: float | None = None
    deviation: float | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ArgumentError("reason", "be a sentence", self.reason, "Say which numbers led to the decision.")

    @property
    def key(self) -> Hashable:
        """One answer per rule, trial and step."""
        return ("decided", self.trial, self.step, self.rule)

    @property
    def stops(self) -> bool:
        """Whether the trial shall end."""
        return self.action is Action.STOP

    @property
    def prunes(self) -> bool:
        """Whether the trial shall end because it cannot win, rather than because it is done."""
        return self.stops and self.rule != FINISHED

    @property
    def diverged(self) -> bool:
        """Whether it says that the trial's loss was not finite."""
        return self.rule == NONFINITE
