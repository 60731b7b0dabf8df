"""A Gaussian process over the discrete configurations: what each would come to, and how surely.

The loss of a configuration is a constant, plus one effect of each factor's value, plus a joint effect of all of them
(the sum and the product of the factors' kernels). Effects of ordinal values resemble those of their neighbours. How
large the joint effects are and how noisy a trial is, is chosen by the marginal likelihood, so a world that is additive
is learned as fast as an additive model learns it. Rasmussen & Williams 2006, chapters 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, exp, pi, sqrt

import numpy as np

from ray_glocal.scheduling.evidence import TrialEvidence
from ray_glocal.scheduling.factor import Array, Levels, Space
from ray_glocal.scheduling.tuning import JOINT, NOISES

_EPSILON = 1e-12
_HUGE = 1e12  # larger than any squared length of whitened losses
_DIGITS = 6  # to which likelihoods are compared: processors differ in the last ones


def _gain(ratio: float) -> float:
    """Expected improvement of a normal variable whose mean lies `ratio` deviations below the incumbent."""
    return ratio * 0.5 * erfc(-ratio / sqrt(2)) + exp(-0.5 * ratio**2) / sqrt(2 * pi)


# Tabulated, for a call per configuration would take longer than all the rest; beyond the table nothing is compared.
_RATIOS = np.linspace(-8.0, 8.0, 3201)
_GAINS = np.log([_gain(ratio) for ratio in _RATIOS])


@dataclass(frozen=True)
class Belief:
    """What configurations would come to, in the evidence's units.

    Args:
        mean: Expected loss of each.
        deviation: Standard deviation of each.
    """

    mean: Array
    deviation: Array

    def improvement(self, incumbent: float) -> Array:
        """Expected improvement of each on `incumbent` (Jones, Schonlau & Welch 1998, equation 15)."""
        ratio = (incumbent - self.mean) / self.deviation
        return np.asarray(self.deviation * np.exp(np.interp(ratio, _RATIOS, _GAINS)))


@dataclass(frozen=True)
class Surrogate:
    """The process after some observations.

    Args:
        space: The space.
        joint: Variance of the joint effects.
        noise: Variance of one more trial's loss.
        levels: Configurations that were observed [place, factor].
        operator: What each observation adds up of their losses [observation, place].
        mean: Observations.
        variance: Their variances.
        inverse: Inverse of the Cholesky factor of the observations' covariance.
    """

    space: Space
    joint: float
    noise: float
    levels: Levels
    operator: Array
    mean: Array
    variance: Array
    inverse: Array

    def believe(self, levels: Levels) -> Belief:
        """Mean and deviation at configurations [configuration, factor]."""
        additive, product = covariances(self.space, levels, self.levels)
        whitened = (additive + self.joint * product) @ (self.inverse @ self.operator).T
        mean = whitened @ (self.inverse @ self.mean)
        variance = 1.0 + len(self.space.factors) + self.joint - np.einsum("ij,ij->i", whitened, whitened)
        return Belief(mean, np.sqrt(np.maximum(variance, _EPSILON)))

    def awaiting(self, levels: Levels) -> Surrogate:
        """The surrogate as if trials under way had come to what is expected of them: no use in proposing them again."""
        if not len(levels):
            return self
        mean = np.concatenate([self.mean, self.believe(levels).mean])
        variance = np.concatenate([self.variance, np.full(len(levels), self.noise)])
        together = np.concatenate([self.levels, levels])
        old, places = self.operator.shape
        operator = np.zeros((old + len(levels), places + len(levels)))
        operator[:old, :places], operator[old:, places:] = self.operator, np.eye(len(levels))
        return _conditioned(self.space, self.joint, self.noise, together, operator, mean, variance)


def surrogate(space: Space, trials: TrialEvidence) -> Surrogate:
    """The process under the joint effects and the noise that make what was observed most likely."""
    additive, product = (_summed(trials.operator, part) for part in covariances(space, trials.levels, trials.levels))
    settings = [(joint, index) for joint in JOINT for index in range(len(NOISES))]
    likelihood = [
        trials.scatter[index] + _evidence(additive + joint * product, trials.variance[index], trials.mean[index])
        for joint, index in settings
    ]
    joint, index = settings[int(np.argmax(np.round(likelihood, _DIGITS)))]
    noise = NOISES[index] ** 2
    return _conditioned(space, joint, noise, trials.levels, trials.operator, trials.mean[index], trials.variance[index])


def covariances(space: Space, first: Levels, second: Levels) -> tuple[Array, Array]:
    """Prior covariances of the additive effects, constant included, and of joint effects of variance 1.

    One product of matrices each: sums over factors are rows of indicators times columns of correlations, and products
    are sums of logarithms.
    """
    sums, logs = [], []
    for column, factor in enumerate(space.factors):
        sums.append(factor.correlations[:, second[:, column]])
        logs.append(np.log(factor.joint_correlations[:, second[:, column]]))
    rows = space.indicators(first)
    return 1.0 + rows @ np.concatenate(sums), np.exp(rows @ np.concatenate(logs))


def _evidence(covariance: Array, variance: Array, mean: Array) -> float:
    """Log marginal likelihood of `mean`, less a constant (Rasmussen & Williams, equation 2.30).

    The last row of the Cholesky factor of a bordered matrix is the whitened border: no system is solved.
    """
    bordered = np.empty((len(mean) + 1, len(mean) + 1))
    bordered[:-1, :-1] = covariance
    bordered[-1, :-1] = bordered[:-1, -1] = mean
    bordered[-1, -1] = _HUGE
    bordered[np.arange(len(mean)), np.arange(len(mean))] += variance
    factor = np.linalg.cholesky(bordered)
    return float(-0.5 * factor[-1, :-1] @ factor[-1, :-1] - np.sum(np.log(np.diagonal(factor)[:-1])))


def _summed(operator: Array, covariance: Array) -> Array:
    """Covariance of observations, from that of what they add up."""
    return np.asarray(operator @ covariance @ operator.T)


def _conditioned(
    space: Space, joint: float, noise: float, levels: Levels, operator: Array, mean: Array, variance: Array
) -> Surrogate:
    additive, product = covariances(space, levels, levels)
    factor = np.linalg.cholesky(_summed(operator, additive + joint * product) + np.diag(variance))
    inverse = np.linalg.solve(factor, np.eye(len(factor)))
    return Surrogate(space, joint, noise, levels, operator, mean, variance, inverse)
