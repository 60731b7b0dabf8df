"""Bayesian linear regression in closed form: how well designs explain a series, and what they say of its future."""

from dataclasses import dataclass

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.koopman.noise import Noise


@dataclass(frozen=True, eq=False)
class Designs:
    """Alternative sets of columns for one series, and the prior on their coefficients.

    Args:
        columns: Shape [design, time, column]; designs of fewer columns are filled up with zeros.
        ahead: The columns at the horizon, shape [design, column].
        deviations: Prior deviation of each coefficient about zero, shape [design, column].
    """

    columns: Array
    ahead: Array
    deviations: Array


@dataclass(frozen=True, eq=False)
class Regressions:
    """What every design says of every channel under every level of noise.

    Args:
        log_evidence: Log density of the series, shape [level, design, channel].
        mean: Expected value at the horizon, shape [level, design, channel].
        variance: Its variance for unknown coefficients, without the noise still to come, shape [level, design].
    """

    log_evidence: Array
    mean: Array
    variance: Array


def regress(values: Array, designs: Designs, noise: Noise, levels: Array, horizon: float) -> Regressions:
    """Regress a series on each design, for noise of given memory and innovation variance.

    With coefficients b ~ N(0, diag(deviations^2)) and noise of covariance C the series is N(0, C + X diag X'), and the
    posterior of b is normal; both are read off one eigendecomposition of the whitened X'X for all levels. The noise of
    the last snapshot is carried ahead by the memory of the noise.
    Bishop 2006 (Pattern Recognition and Machine Learning), equations 3.53, 3.54 and 3.86.

    Args:
        values: The series, shape [time, channel].
        designs: The designs.
        noise: Memory of the noise.
        levels: Innovation variances, above 0, shape [level].
        horizon: Steps ahead of the last snapshot, at which `designs.ahead` stands.

    Returns:
        The regressions.
    """
    scaled, target = noise.whiten(designs.columns) * designs.deviations[:, None], noise.whiten(values)
    turned = np.swapaxes(scaled, 1, 2)
    sizes, axes = np.linalg.eigh(turned @ scaled)
    sizes, axes = np.maximum(sizes, 0.0), np.swapaxes(axes, 1, 2)
    match = axes @ (turned @ target)  # [design, axis, channel]
    widths = 1 / (levels[:, None, None] + sizes)  # posterior variances over the level, [level, design, axis]
    kept = noise.kept(horizon)
    contrast = (designs.ahead - kept * designs.columns[:, -1]) * designs.deviations
    contrast = (axes @ contrast[..., None])[..., 0]  # [design, axis]
    mean = np.swapaxes((widths * contrast).swapaxes(0, 1) @ match, 0, 1) + kept * values[-1]
    variance = levels[:, None] * np.sum(widths * contrast**2, axis=2)
    return Regressions(_log_evidence(target, sizes, match, widths, levels, noise.first), mean, variance)


def _log_evidence(target: Array, sizes: Array, match: Array, widths: Array, levels: Array, first: float) -> Array:
    """Log density of the innovations [time, channel], and of the series that they were made of."""
    square = np.sum(target**2, axis=0)
    explained = np.swapaxes(widths.swapaxes(0, 1) @ match**2, 0, 1)
    # Rounding may explain a little more than there is.
    left = np.maximum(square - explained, np.finfo(np.float64).eps * square)
    spread = np.sum(np.log1p(sizes / levels[:, None, None]), axis=2)[..., None]
    scale = len(target) * np.log(2 * np.pi * levels)[:, None, None]
    density: Array = np.log(first) - 0.5 * (scale + spread + left / levels[:, None, None])
    return density
