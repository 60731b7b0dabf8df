"""Where training began, or began anew after weight decay had starved it."""

import math
from dataclasses import dataclass
from typing import Any

from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.session.divergence import weight_decays
from ray_glocal.session.tuning import RELIEF


@dataclass(frozen=True)
class Beginning:
    """A beginning of training.

    Args:
        step: Inner steps taken before it.
        values: Hyperparameters that it began with.
    """

    step: int
    values: Values

    def relieved(self, problem: Problem, step: int, total: int, shrinkage: float) -> "Beginning | None":
        """A beginning at `step` with less weight decay; None where there is none to lower.

        So much less that, at the pace so far, it would shrink the weights to no less than 1 / e of their length in the
        steps that are left, and less by `RELIEF` at least.

        Args:
            problem: Its weight decays are lowered.
            step: Inner steps taken.
            total: Of the whole training.
            shrinkage: Length of the weights over what it was at this beginning.
        """
        decays = weight_decays(problem, self.values)
        if not decays:
            return None
        pace = -math.log(max(shrinkage, 1e-9)) / max(step - self.step, 1)
        factor = min(RELIEF, 1.0 / (pace * max(total - step, 1)))
        cut = {hyper.name: hyper.clip(self.values[hyper.name] * factor) for hyper in decays}
        return Beginning(step, {**self.values, **cut})

    def as_plain(self) -> dict[str, Any]:
        """As plain data."""
        return {"step": self.step, "values": dict(self.values)}
