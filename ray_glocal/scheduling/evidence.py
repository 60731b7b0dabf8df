"""What the trials say about the configurations: mean losses in robust units, with their precisions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_glocal.scheduling.factor import Array, Levels, Space
from ray_glocal.scheduling.proposed import TrialTable
from ray_glocal.scheduling.tuning import COARSE, FAILURE, HELD, NOISES, STEPS

_LEAST = 1e-100  # spread, so that no quotient overflows


@dataclass(frozen=True)
class Units:
    """Losses in robust spreads from their median.

    Args:
        centre: Median of the losses.
        spread: 1.4826 median absolute deviations.
    """

    centre: float
    spread: float

    def loss(self, value: float) -> float:
        """A value of the surrogate as a loss."""
        return self.centre + self.spread * value


@dataclass(frozen=True)
class TrialEvidence:
    """Trials, summed up by configuration, under each assumption on their noise.

    An observation is the mean loss of a configuration's trials, weighted by their precisions, or the difference between
    two neighbouring configurations, where a trial told the slope.

    Args:
        tried: Configurations with trials [configuration, factor]: the first observations are theirs.
        levels: Those and their neighbours that a slope leads to, [place, factor].
        operator: What the observations add up of the losses at `levels` [observation, place].
        mean: Observations [noise, observation].
        variance: Their variances [noise, observation].
        scatter: Log likelihood of the trials around their configuration's mean [noise].
        units: Of the losses.
    """

    tried: Levels
    levels: Levels
    operator: Array
    mean: Array
    variance: Array
    scatter: Array
    units: Units


def evidence(space: Space, table: TrialTable) -> TrialEvidence:
    """What the usable and the failed trials say; there is at least one usable."""
    usable = table.usable
    known = usable | table.failed
    finite = usable[known]
    finals = table.final[known]
    units = _units(finals[finite])
    losses = np.where(finite, np.clip((finals - units.centre) / units.spread, -FAILURE, FAILURE), FAILURE)
    deviations = np.minimum(table.deviation[known] / units.spread, FAILURE)
    shaky = np.where(finite, deviations, 0.0) ** 2
    numbers, place = _held(table.configuration[known], losses, len(table.levels))
    kept = place >= 0
    sums = [_summed(losses[kept], shaky[kept] + noise**2, place[kept], len(numbers)) for noise in NOISES]
    mean, variance, scatter = (np.array(part) for part in zip(*sums, strict=True))
    tried = table.levels[numbers]
    ends, differences = _differences(space, table, numbers, units)
    count = len(ends)
    operator = np.zeros((len(numbers) + count, len(numbers) + count))
    operator[np.arange(len(operator)), np.arange(len(operator))] = 1.0
    operator[len(numbers) + np.arange(count), [begin for begin, _ in ends]] = -1.0
    mean = np.hstack([mean, np.tile(differences, (len(NOISES), 1))])
    variance = np.hstack([variance, np.tile(COARSE**2 + (differences / 2) ** 2, (len(NOISES), 1))])
    levels = np.concatenate([tried, np.array([end for _, end in ends], np.int64).reshape(count, tried.shape[1])])
    return TrialEvidence(tried, levels, operator, mean, variance, scatter, units)


def _differences(
    space: Space, table: TrialTable, numbers: NDArray[np.intp], units: Units
) -> tuple[list[tuple[int, tuple[int, ...]]], Array]:
    """Steps to neighbouring values, from the place of a configuration to the levels reached, and what each changes."""
    ends, differences = [], []
    for place, number in enumerate(numbers.tolist() if table.slopes else []):
        own = tuple(table.levels[number].tolist())
        for column, factor in enumerate(space.factors):
            slope = table.slopes.get(number, {}).get(factor.name)
            if slope is None or not np.isfinite(slope):
                continue
            for level, distance in factor.neighbours(own[column]):
                ends.append((place, (*own[:column], level, *own[column + 1 :])))
                differences.append(min(max(slope * distance / units.spread, -FAILURE), FAILURE))
    return ends[:STEPS], np.array(differences[:STEPS])


def _units(known: Array) -> Units:
    if not len(known):
        return Units(0.0, 1.0)
    centre = float(np.median(known))
    spread = float(np.median(np.abs(known - centre))) * 1.4826 or float(np.ptp(known)) or 1.0
    return Units(centre, max(spread, _LEAST))


def _held(configurations: NDArray[np.int64], losses: Array, count: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Numbers of the configurations to look at, and the place of each trial's among them; -1 for none.

    All that have trials while they are few; then the best, and as many evenly from the ranks of the others: what is
    bad says where not to look.
    """
    trials = np.bincount(configurations, minlength=count)
    means = np.bincount(configurations, losses, minlength=count) / np.maximum(trials, 1)
    numbers = np.flatnonzero(trials)
    if len(numbers) > HELD:
        ranked = numbers[np.argsort(means[numbers], kind="stable")]
        others = np.linspace(HELD // 2, len(ranked) - 1, HELD - HELD // 2).astype(np.intp)
        numbers = np.concatenate([ranked[: HELD // 2], ranked[others]])
    places = np.full(count, -1)
    places[numbers] = np.arange(len(numbers))
    return numbers, places[configurations]


def _summed(losses: Array, variances: Array, place: NDArray[np.int64], count: int) -> tuple[Array, Array, float]:
    """Mean, its variance, and the log likelihood of the scatter, for one assumption on the noise."""
    precision = np.bincount(place, 1 / variances, minlength=count)
    mean = np.bincount(place, losses / variances, minlength=count) / precision
    gaps = (losses - mean[place]) ** 2 / variances
    scatter = -0.5 * (np.sum(gaps) + np.sum(np.log(variances)) + np.sum(np.log(precision)))
    return mean, 1 / precision, float(scatter)
