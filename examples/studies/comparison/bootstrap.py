"""The bootstrap: intervals of what is said of a few seeds, or of a few tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Over = Literal["seeds", "tasks"]


@dataclass(frozen=True)
class Resamples:
    """The resamples of a bootstrap, as the weights that they give; those of one resample sum to one.

    Args:
        tasks: [resample, task].
        seeds: [resample, task, seed], within each task.
    """

    tasks: Array
    seeds: Array


def sample(tasks: int, seeds: int) -> Resamples:
    """The one that weighs everything alike: what has been observed."""
    return Resamples(np.full((1, tasks), 1 / tasks), np.full((1, tasks, seeds), 1 / seeds))


def resampled(tasks: int, seeds: int, over: Over = "seeds", resamples: int = 2000, seed: int = 0) -> Resamples:
    """Resamples of the seeds within each task, for what is said of these tasks; or of the tasks, for tasks like these.

    Of n there are n - 1 drawn with replacement, which makes the variance of a mean unbiased where n is small (Rao &
    Wu 1988, Resampling inference with complex survey data). A task that is drawn brings all its seeds: between the
    tasks' means lies the seeds' noise already (Davison & Hinkley 1997, Bootstrap methods, section 3.8).

    Args:
        tasks: How many.
        seeds: How many.
        over: What is resampled.
        resamples: How many.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    even = sample(tasks, seeds)
    if over == "tasks":
        drawn = max(tasks - 1, 1)
        counts = generator.multinomial(drawn, even.tasks[0], size=resamples)
        return Resamples(counts / drawn, np.repeat(even.seeds, resamples, 0))
    drawn = max(seeds - 1, 1)
    counts = generator.multinomial(drawn, even.seeds[0, 0], size=(resamples, tasks))
    return Resamples(np.repeat(even.tasks, resamples, 0), counts / drawn)


@dataclass(frozen=True)
class Estimate:
    """A statistic with the percentile interval of its bootstrap.

    Args:
        value: Of the sample.
        lower: End of the interval.
        upper: End of the interval.
        below: Share of the resamples in which it is below zero.
    """

    value: Array
    lower: Array
    upper: Array
    below: Array


def estimate(
    statistic: Callable[[Resamples], Array],
    tasks: int,
    seeds: int,
    over: Over = "seeds",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic and its interval.

    Args:
        statistic: Its values [resample, ...] of resamples.
        tasks: How many.
        seeds: How many.
        over: What is resampled.
        level: Of the interval.
        resamples: How many.
        seed: Of the generator; the same gives the same resamples.
    """
    told = statistic(resampled(tasks, seeds, over, resamples, seed))
    lower, upper = np.quantile(told, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Estimate(statistic(sample(tasks, seeds))[0], lower, upper, np.mean(told < 0, axis=0))
