"""The true global hypergradient: whole trainings, each differentiated from its first step to its last."""

import math
from dataclasses import dataclass, replace

from rivals.real_time import carried
from rivals.training import LOWER, UPPER, Run, Trained, Training
from tasks import TASKS, mean_loss


@dataclass(frozen=True)
class GlobalDescent:
    """Outer steps by the sign of the exact h_R, halved where it turns; the best of all the trainings is kept.

    Args:
        trainings: How many.
        step: Of the first outer step, in e-folds of the learning rate.
    """

    trainings: int = 6
    step: float = 2.0

    def train(self, run: Run) -> Trained:
        """Train again and again; the cost is that of all trainings."""
        line, length, heading = math.log(run.lr), self.step, 0.0
        spent, least, best = 0.0, math.inf, None
        for _ in range(self.trainings):
            result, slope = differentiated(replace(run, lr=math.exp(line)))
            spent += result.cost
            value = final(result, run)
            if best is None or value < least:
                least, best = value, result
            turn = -math.copysign(1.0, slope)
            length *= 0.5 if turn * heading < 0 else 1.0
            heading = turn
            line = min(max(line + heading * length, math.log(LOWER)), math.log(UPPER))
        return replace(best, cost=spent)


def final(result: Trained, run: Run) -> float:
    """Validation loss, infinite where training was lost."""
    value = mean_loss(result.model, TASKS[run.task].data().val)
    return value if math.isfinite(value) else math.inf


def differentiated(run: Run) -> tuple[Trained, float]:
    """One training, and its final validation loss differentiated in log lr; infinite where training was lost."""
    training, steps = Training(run), 0
    for steps, tangent in enumerate(carried(training, training.batches()), 1):  # noqa: B007
        pass
    if steps < run.steps:
        return training.trained(), math.inf  # whoever loses the weights went too fast
    slope = tangent.along(training.outer_gradient(training.val_batches())[1])
    return training.trained(), slope if math.isfinite(slope) else math.inf
