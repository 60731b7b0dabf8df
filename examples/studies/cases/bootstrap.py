"""Whether one estimator finds the sign more often than another, beyond the luck of the runs."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.validation.estimates import Estimates


@dataclass(frozen=True)
class Difference:
    """A difference of sign accuracies with its bootstrap interval.

    Args:
        value: First less second.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def sign_difference(first: Estimates, second: Estimates, *, seed: int = 0, draws: int = 2000) -> Difference:
    """Paired bootstrap of the difference in sign accuracy, over runs.

    Windows of one run share its weights and its data, so runs are drawn with replacement, not windows
    (Efron & Tibshirani 1993, section 8).

    Args:
        first: Entries of an estimator.
        second: The same entries of another one.
        seed: Of the draws.
        draws: Resamples.

    Raises:
        ArgumentError: The entries differ, or there are none.
    """
    same = len(first.mean) == len(second.mean) and bool(
        (first.case == second.case).all() and (first.label == second.label).all()
    )
    if not same or not len(first.mean):
        remedy = "Estimate both from the same cases."
        raise ArgumentError("second", "hold the same entries as `first`, one or more", len(second.mean), remedy)
    gains = first.hits.astype(float) - second.hits
    names, run = np.unique(first.run, return_inverse=True)
    totals, counts = np.bincount(run, gains), np.bincount(run)
    weights = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), draws)
    drawn = (weights @ totals) / (weights @ counts)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Difference(float(gains.mean()), float(low), float(high))
