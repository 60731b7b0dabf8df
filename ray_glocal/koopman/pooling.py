"""Pooling: what several windows of one training say together of its end.

Every window forecasts the same end from other batches and other validation examples. Whether an effect is there shows
in whether they agree: their disagreement is the part of the uncertainty that no single window can see.
"""

from collections.abc import Sequence

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array, Forecast, Kind, Outcome
from ray_glocal.koopman.tuning import AGING, AHEAD, CARRY, LOGARITHMIC_SHARE
from ray_glocal.koopman.window_forecast import WindowForecast

_TINY = 1e-24  # relative variance below which windows count as equally exact


def pooled(forecasts: Sequence[WindowForecast]) -> Forecast:
    """Fuse the forecasts of a training's windows into one for what is left after the last of them.

    A window's own estimate is the average of its forecast and of `WindowForecast.logarithmic`. Older estimates are
    carried to what is left now, and weigh by their precision, the less the longer ago they were: a random walk in
    log-time. The deviation adds up the mean variance of the windows, their disagreement, and what may change until the
    end. Nominal 90 % intervals covered about that share of the truth of recorded trainings.

    Args:
        forecasts: Oldest first, all of the same hyperparameters and in one unit of flow. Older ones whose forecast is
            not usable are left out.

    Returns:
        The forecast; that of the last window itself where it is not usable.

    Raises:
        ArgumentError: There are none, or their shapes differ.
    """
    _check(forecasts)
    now = forecasts[-1]
    if not now.forecast.outcome.usable:
        return now.forecast
    known = [each for each in forecasts if each.forecast.outcome.usable]
    means, deviations = _estimates(known)
    # Effects of 1e-200 and of 1e150 alike are squared below: both go in units of the largest.
    units = np.maximum(np.abs(means).max(axis=0), deviations.max(axis=0))
    units = np.where(units > 0, units, 1.0)
    mean, variance = _fused(known, means / units, deviations / units)
    forecast = Forecast(mean * units, np.sqrt(variance) * units, now.forecast.horizon, _noted(now, len(known)))
    if np.isfinite(forecast.mean).all() and np.isfinite(forecast.deviation).all():
        return forecast
    sentence = "The arithmetic overflowed: the windows do not determine a forecast."
    return Forecast.refused(len(mean), forecast.horizon, Kind.UNDETERMINED, sentence)


def _estimates(known: Sequence[WindowForecast]) -> tuple[Array, Array]:
    """Each window's estimate for what is left now, and its deviation; shape [window, q]."""
    left = known[-1].remaining
    shares = [min(1.0, left / each.remaining) ** CARRY if each.remaining > 0 else 1.0 for each in known]
    carried = np.array(shares)[:, None]
    means, growths = np.stack([each.forecast.mean for each in known]), np.stack([each.logarithmic for each in known])
    between = np.sqrt(LOGARITHMIC_SHARE * (1 - LOGARITHMIC_SHARE)) * np.abs(means - growths)
    deviations: Array = np.hypot(np.stack([each.forecast.deviation for each in known]), between)
    return carried * ((1 - LOGARITHMIC_SHARE) * means + LOGARITHMIC_SHARE * growths), carried * deviations


def _fused(known: Sequence[WindowForecast], means: Array, deviations: Array) -> tuple[Array, Array]:
    """Mean and variance of the windows' estimates [window, q] together, shape [q] each."""
    now, variances = known[-1], deviations**2
    size = np.mean(means**2, axis=0)  # common to all, lest a window weighs more for saying less
    precision = 1 / (variances + AGING * _ages(known)[:, None] * size + _TINY)
    weights = precision / precision.sum(axis=0)
    mean: Array = np.sum(weights * means, axis=0)
    ahead = float(np.log1p(now.remaining / now.end)) if now.end > 0 else 0.0
    variance: Array = np.sum(weights * (variances + (means - mean) ** 2), axis=0) + AHEAD * (ahead * mean) ** 2
    return mean, variance


def _ages(known: Sequence[WindowForecast]) -> Array:
    """How far back in log-time each window lies: of what had passed, and of what was left; shape [window]."""
    smallest = np.finfo(np.float64).tiny
    ends = np.log(np.maximum([each.end for each in known], smallest))
    lefts = np.log(np.maximum([each.remaining for each in known], smallest))
    ages: Array = np.abs(ends[-1] - ends) + np.abs(lefts[-1] - lefts)
    return ages


def _noted(now: WindowForecast, count: int) -> Outcome:
    outcome = now.forecast.outcome
    return outcome if count == 1 else Outcome(outcome.kind, f"{outcome.sentence} Pooled from {count} windows.")


def _check(forecasts: Sequence[WindowForecast]) -> None:
    if not len(forecasts):
        raise ArgumentError("forecasts", "hold at least one window forecast", forecasts, "Pool what windows have seen.")
    shapes = {array.shape for each in forecasts for array in (each.local, each.slope, each.forecast.mean)}
    if len(shapes) > 1:
        raise ArgumentError("forecasts", "have arrays of one shape [q]", sorted(shapes), "Forget windows of others.")
