"""What one window says of the end of training."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array, Forecast, Forecaster, Kind
from ray_glocal.koopman.flow import checked_flow, flow_horizon, lag_flow
from ray_glocal.koopman.tuning import FEWEST, YOUNG
from ray_glocal.koopman.window import checked_series


@dataclass(frozen=True, eq=False)
class WindowForecast:
    """A window's hypergradient, how it still grows with the lag, and its forecast. All times are flow times.

    Args:
        local: Last row of the lag trajectory, shape [q].
        slope: Growth of its second half for each unit of flow, shape [q].
        forecast: Forecast of the effect that a change has over all of `remaining`, shape [q].
        span: Flow that the trajectory covers, above 0 where the forecast is usable.
        remaining: Flow that the forecast covers: from the window's start to the end of training.
        end: Flow from the start of training to the window's end.
    """

    local: Array
    slope: Array
    forecast: Forecast
    span: float
    remaining: float
    end: float

    @property
    def logarithmic(self) -> Array:
        """The effect over all of `remaining` where contributions fade like one over the lag, shape [q].

        local + slope * (tau + span) * log((tau + remaining) / (tau + span)), tau a quarter of the training so far: if
        contributions at lag x fade as 1 / (tau + x), and are the slope at lag `span`, this adds their integral from
        `span` to `remaining`. Training runs do so beyond the lags that a window sees, whichever the hyperparameter.
        """
        young = YOUNG * self.end
        passed = young + self.span
        if passed == 0:
            return self.local
        growth: Array = self.slope * passed * np.log((young + max(self.remaining, self.span)) / passed)
        return self.local + growth


def window_forecast(
    forecaster: Forecaster, lags: ArrayLike, rates: ArrayLike, remaining: float, before: float = 0.0
) -> WindowForecast:
    """Forecast a window's lag trajectory in flow time.

    Args:
        forecaster: Predicts the trajectory.
        lags: Effect on the loss at the window's end of a change over the last 1, 2, .. K steps, shape [K, q].
        rates: Learning rates of the window's steps, or a schedule's factors, oldest first, shape [K].
        remaining: Flow over which the change is to last, the sum of the same rates from the window's start to the end
            of training. Where it is less than the window's, lags beyond it are left out.
        before: Flow from the start of training to the window's start.

    Returns:
        The window forecast; refused where the rates are all zero.

    Raises:
        ArgumentError: `lags` is no [K, q] array, `rates` are not K finite numbers from 0 on, or `remaining` or `before`
            is not such a number.
    """
    series, covered = checked_series(lags), lag_flow(rates)
    if len(covered) != len(series):
        remedy = "Hand the rates of the window's steps alone, oldest first."
        raise ArgumentError("rates", f"be one for each of {len(series)} lags", len(covered), remedy)
    left, end = checked_flow("remaining", remaining), checked_flow("before", before) + float(covered[-1])
    rows = min(len(series), max(FEWEST, int(np.searchsorted(covered, left * (1 + 1e-12), side="right"))))
    series, covered = series[:rows], covered[:rows]
    span = float(covered[-1])
    if span == 0:
        sentence = "The learning rates of the window are all zero; there is no effect to forecast."
        refused = Forecast.refused(series.shape[1], left, Kind.UNDETERMINED, sentence)
        return WindowForecast(series[-1], np.zeros_like(series[-1]), refused, span, left, end)
    horizon = flow_horizon(np.diff(covered, prepend=0.0), max(0.0, left - span))
    return WindowForecast(series[-1], _slope(covered, series), forecaster.forecast(series, horizon), span, left, end)


def _slope(times: Array, series: Array) -> Array:
    """Least-squares slope of the second half, shape [channel]; zero where no time passes."""
    half = max(2, len(series) // 2)
    late = times[-half:] - times[-half:].mean()
    square = float(late @ late)
    slope: Array = late @ series[-half:] / square if square > 0 else np.zeros_like(series[-1])
    return slope
