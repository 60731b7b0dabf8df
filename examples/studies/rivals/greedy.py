"""The greedy local rule: after every window one step of fixed length against the sign of its own hypergradient."""

from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from ray_glocal import Hyperparameter
from ray_glocal.hypergradient import Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.session.pacing.cost import window_steps
from rivals.training import LOWER, UPPER, VAL_BATCHES, Run, Trained, Training, lost
from tasks import Batch, loss


@dataclass(frozen=True)
class Greedy:
    """No forecast, no gate, no memory.

    Args:
        step: In e-folds of the learning rate.
        window: Differentiated inner steps.
        period: Inner steps from one window's start to the next.
    """

    step: float
    window: int = 16
    period: int = 64

    def train(self, run: Run) -> Trained:
        """Train, a part of the steps in windows."""
        training = Training(run)
        hyper = [Hyperparameter("lr", run.lr, LOWER, UPPER, "log")]
        problem = Problem(training.model, training.optimizer, loss, loss, hyper)
        values, batches = problem.start_values(), training.batches()
        while window := list(islice(batches, self.window)):
            slope = local(training, problem, values, window)
            values = problem.to_values(problem.to_line(values) - self.step * slope.sign().nan_to_num())
            problem.write_options(None, values)
            if any(lost(training.advance(batch)) for batch in islice(batches, self.period - self.window)):
                break
        return training.trained()


def local(training: Training, problem: Problem, values: Values, batches: list[Batch]) -> Tensor:
    """Train on a window; its local hypergradient, shape [1]."""
    recorded = record_window(problem, batches, training.next_val(), values)
    training.rates += [training.lr] * len(batches)
    training.cost += len(batches) + window_steps("adjoint", len(batches), len(batches), 1, VAL_BATCHES)
    return adjoint_trajectory(problem, recorded).derivatives[-1]
