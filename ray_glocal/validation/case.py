"""A case: one recorded window of a training run, beside the truth about how that training ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ray_glocal.forecast import Array


@dataclass(frozen=True, eq=False)
class Case:
    """A window at fixed hyperparameter values, and the exact hypergradient at the end of training; in coordinates.

    Args:
        run: Name of the run that the window lies in; the windows of one run are not independent.
        about: What else is known of the run, by name.
        labels: A name for each of the q hyperparameter entries.
        values: Their values throughout the run, shape [q].
        start: Inner steps ahead of the window.
        remaining: Inner steps R from the window's start to the truth, at the end of training.
        forward: Trajectory h_1 .. h_K, shape [K, q]; [0, q] where it was not recorded.
        lag: Trajectory by lag, shape [K, q]; its last row is h_K too.
        earlier: Lag trajectories of earlier windows of the run, oldest first, shape [window, K, q].
        earlier_starts: Where those windows start.
        loss: Validation loss after the window, on the window's few batches.
        truths: h_R for each future, on the whole validation set, shape [future, q]. Futures share the window's
            batches, and each goes on in an order of its own.
        final_losses: Validation loss at the end of each future, shape [future].
        step_sizes: Half widths of the finite differences, in coordinates; may be none.
        directions: What they are differences along, shape [direction, q].
        differences: Central differences of the first future's final loss, shape [step size, direction].
        rates: The schedule's factor on the learning rate at each step of the run up to the truth, averaged over
            parameter groups; empty where there is no schedule.
    """

    run: str
    about: Mapping[str, str]
    labels: tuple[str, ...]
    values: Array
    start: int
    remaining: int
    forward: Array
    lag: Array
    earlier: Array
    earlier_starts: tuple[int, ...]
    loss: float
    truths: Array
    final_losses: Array
    step_sizes: tuple[float, ...] = ()
    directions: Array = field(default_factory=lambda: np.empty((0, 0)))
    differences: Array = field(default_factory=lambda: np.empty((0, 0)))
    rates: Array = field(default_factory=lambda: np.empty(0))

    @property
    def truth(self) -> Array:
        """Mean of h_R over the futures, shape [q]."""
        mean: Array = self.truths.mean(axis=0)
        return mean

    @property
    def horizon(self) -> int:
        """Inner steps from the window's end to the end of training."""
        return self.remaining - len(self.lag)

    @property
    def flow(self) -> Array:
        """The factors of `rates`, ones without a schedule: what each step adds to flow time, shape [step]."""
        return self.rates if self.rates.size else np.ones(self.start + self.remaining)
