"""The terms of an experiment: what the user and Tune said on when trials are judged, and when they are done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecaster
from ray_glocal.names import TOTAL_STEPS
from ray_glocal.scheduling.rules import Rule
from ray_glocal.scheduling.tuning import PARTS
from ray_glocal.tune._compat import TRAINING_ITERATION
from ray_glocal.tune.reading import finite
from ray_glocal.tune.rulebook import Rulebook
from ray_glocal.tune.tuning import RUNGS_BELOW_TOP


@dataclass(frozen=True)
class Terms:
    """As they were said; the first result tells what was left open.

    Args:
        grace: Steps before which nobody is judged; None for what follows from the end of training.
        factor: Reduction factor.
        max_t: Steps after which a trial is done; None to leave that to the trainable.
        rules: Names of pruning rules, or rules.
        forecaster: Of the metric of trials that do not forecast themselves.
        time_attr: Key of the trial's clock; `training_iteration` where a result lacks it.
        stop: Tune's own stopping criterion.

    Raises:
        ArgumentError: One is out of its range, or a rule is not known: said at once, and not in a hook.
    """

    grace: int | None
    factor: int
    max_t: float | None
    rules: tuple[str | Rule, ...]
    forecaster: Forecaster
    time_attr: str
    stop: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_t is not None and not self.max_t > 0:
            remedy = "Leave it out to let the trainable end by itself."
            raise ArgumentError("max_t", "be positive", self.max_t, remedy)
        Rulebook.of(self.grace or 1, self.factor, self.max_t, self.rules)

    def end(self, result: Mapping[str, Any]) -> float | None:
        """The step at which the training of a result ends; None where nobody says."""
        clock = self.time_attr if self.time_attr in result else TRAINING_ITERATION
        ends = (self.max_t, finite(self.stop.get(clock)), finite(result.get(TOTAL_STEPS)))
        return min((end for end in ends if end is not None), default=None)

    def rulebook(self, result: Mapping[str, Any]) -> Rulebook:
        """The rulebook that they stand for beside a first result, which may tell `total_steps`."""
        parts = PARTS if self.grace is None and finite(result.get(TOTAL_STEPS)) is not None else 0
        end = parts or self.end(result) or 0
        grace = self.grace or max(1, int(end // self.factor**RUNGS_BELOW_TOP))
        return Rulebook.of(grace, self.factor, self.max_t, self.rules, parts)
