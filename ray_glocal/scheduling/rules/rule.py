"""What a pruning rule is: a total function of the ledger and one report."""

from __future__ import annotations

from typing import Protocol

from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.ledger import Ledger


class Rule(Protocol):
    """Judges one report that the ledger already holds.

    A rule never raises, never writes, and draws nothing at random: an exception in a scheduler's hook would end the
    user's whole experiment, and a replayed ledger must replay the decisions.
    """

    @property
    def name(self) -> str:
        """The name that decisions carry."""
        ...

    def __call__(self, ledger: Ledger, event: Reported) -> Decision | None:
        """The answer to `event`; None where this rule has nothing to say."""
        ...
