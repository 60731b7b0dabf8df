"""What first-order adaptation says of an observation, for the trace."""

import numpy as np

from ray_glocal.forecast import Array, Forecast, Kind, Outcome
from ray_glocal.hypergradient import Problem
from ray_glocal.session.answer import Gate
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.observation import Observation
from ray_glocal.session.first_order.rates import explained
from ray_glocal.session.first_order.tuning import CLEAR
from ray_glocal.session.rows import MANY

HELD = "held: of a decay rate a first-order hypergradient says what it says of the learning rate"


def answers(seen: Observation, known: Memory, move: Array, kinds: Kinds, problem: Problem) -> list[tuple[Gate, str]]:
    """What each entry is answered, and why.

    Args:
        seen: Averaged weights.
        known: What was seen so far, this observation included.
        move: Displacements on the line, of rates e-folds, shape [q].
        kinds: What the entries are.
        problem: Whose entries they are.
    """
    average, ratio = known.average, np.abs(known.ratio)
    for hyper in problem.hyperparameters:
        if hyper.size > MANY:  # which the trace shows as one
            part = problem.places[hyper.name]
            average[part], ratio[part] = np.linalg.norm(average[part]), np.sqrt(np.mean(ratio[part] ** 2))
    found = []
    for index, (is_rate, is_decay) in enumerate(zip(kinds.rates, kinds.decays, strict=True)):
        if is_rate:
            answer = Gate.ACT if move[index] else Gate.HOLD
            found.append((answer, explained(seen, known.rate_elasticity[index], moves=bool(move[index]))))
        elif is_decay:
            found.append((Gate.HOLD, HELD))
        else:
            answer = Gate.ACT if ratio[index] >= CLEAR else Gate.ACT_SMALL
            found.append((answer, f"elasticity {average[index]:+.2g}, {ratio[index]:.2g} of its root mean square"))
    return found


def plain_forecast(memory: Memory, scale: float, horizon: int) -> Forecast:
    """The mean of what was seen stands for what will be: forecasts of such series changed nothing (see `tuning`)."""
    mean, deviation = memory.average * scale, memory.deviation * scale
    return Forecast(mean, deviation, horizon, Outcome(Kind.OK, "the mean of the last observations"))
