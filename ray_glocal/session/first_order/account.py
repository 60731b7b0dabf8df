"""What first-order adaptation says of an observation, for the trace."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.forecast import Array, Forecast, Kind, Outcome
from ray_glocal.hypergradient import Problem
from ray_glocal.session.answer import Gate
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.observation import Observation
from ray_glocal.session.first_order.rates import explained
from ray_glocal.session.first_order.tuning import CLEAR
from ray_glocal.session.tuning import MANY

HELD = "held: of a decay rate a first-order hypergradient says what it says of the learning rate"


@dataclass(frozen=True)
class Account:
    """What each entry is answered, and why; written when somebody asks, for of thousands nobody does.

    Args:
        seen: Averaged weights.
        known: What was seen so far, this observation included.
        move: Displacements on the line, of rates e-folds, shape [q].
        kinds: What the entries are.
        average: Mean elasticities, shape [q]; of a hyperparameter that the trace shows as one their norm.
        ratio: Size of the mean over the root mean square, shape [q]; of such a hyperparameter its root mean square.
    """

    seen: Observation
    known: Memory
    move: Array
    kinds: Kinds
    average: Array
    ratio: Array

    @classmethod
    def of(cls, seen: Observation, known: Memory, move: Array, kinds: Kinds, problem: Problem) -> "Account":
        """The account of one observation of a problem's entries."""
        average, ratio = known.average, np.abs(known.ratio)
        for hyper in problem.hyperparameters:
            if hyper.size > MANY:
                part = problem.places[hyper.name]
                average[part], ratio[part] = np.linalg.norm(average[part]), np.sqrt(np.mean(ratio[part] ** 2))
        return cls(seen, known, move, kinds, average, ratio)

    def verdict(self, index: int) -> tuple[Gate, str]:
        """Of one entry."""
        if self.kinds.rates[index]:
            moves = bool(self.move[index])
            return Gate.ACT if moves else Gate.HOLD, explained(
                self.seen, self.known.rate_elasticity[index], moves=moves
            )
        if self.kinds.decays[index]:
            return Gate.HOLD, HELD
        ratio, single = self.ratio[index], self.known.count == 1
        share = "of one observation" if single else f"{ratio:.2g} of its root mean square"
        clear = ratio >= CLEAR and not single
        return Gate.ACT if clear else Gate.ACT_SMALL, f"elasticity {self.average[index]:+.2g}, {share}"


def plain_forecast(memory: Memory, scale: float, horizon: int) -> Forecast:
    """The mean of what was seen stands for what will be: forecasts of such series changed nothing."""
    mean, deviation = memory.average * scale, memory.deviation * scale
    return Forecast(mean, deviation, horizon, Outcome(Kind.OK, "the mean of the last observations"))
