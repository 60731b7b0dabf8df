"""A window of snapshots: what is accepted, what is refused, and how a spike is taken out."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array, Kind, Outcome
from ray_glocal.koopman.tuning import FEW, FEWEST, NEIGHBOURS, SPIKE_RANGES, SPIKE_STEPS

LARGEST = 1e150  # squares beyond it overflow, here and wherever a deviation or a ratio is squared later
SMALLEST = 1e-305  # below it numbers lose digits: such a channel is read as standing still
_STILL = 1e-14  # a channel that moves less than this share of its size moves by rounding error only


def checked_series(series: ArrayLike) -> Array:
    """Read a series as float64.

    Raises:
        ArgumentError: Not real numbers of shape [time, channel], or no channel.
    """
    array = np.asarray(series)
    if array.dtype.kind not in "fiub":
        raise ArgumentError("series", "hold real numbers", array.dtype.name, "Split complex values into two channels.")
    if array.ndim != 2 or array.shape[1] < 1:
        rule = "have shape [time, channel] with at least one channel"
        raise ArgumentError("series", rule, array.shape, "Use `series[:, None]` for a single channel.")
    return array.astype(np.float64)


def checked_horizon(horizon: float) -> float:
    """Read a horizon in steps ahead of the last snapshot.

    Raises:
        ArgumentError: Not a number from 0 to infinity.
    """
    if not isinstance(horizon, Real) or not float(horizon) >= 0:
        raise ArgumentError("horizon", "be a number of steps from 0 to math.inf", horizon, "0 is the last snapshot.")
    return float(horizon)


@dataclass(frozen=True, eq=False)
class SeriesWindow:
    """A window that arithmetic can be trusted with, and how far it can carry a conclusion.

    Args:
        series: Snapshots with spikes taken out, shape [time, channel].
        outcome: `OK`, `WEAK`, `CONSTANT`, or the refusal; where it is a refusal the series is as it came.
        spikes: Values that were replaced.
    """

    series: Array
    outcome: Outcome
    spikes: int = 0

    @property
    def length(self) -> int:
        """Snapshots in the window."""
        return int(self.series.shape[0])

    @property
    def last(self) -> Array:
        """The last snapshot, shape [channel]."""
        last: Array = self.series[-1]
        return last


def window(series: Array) -> SeriesWindow:
    """Judge a series and take its spikes out.

    Args:
        series: Snapshots as `checked_series` returns them, shape [time, channel].

    Returns:
        The window.
    """
    outcome = judged(series)
    if not outcome.usable or outcome.kind is Kind.CONSTANT:
        return SeriesWindow(series, outcome)
    calm, spikes = without_spikes(series)
    if not spikes:
        return SeriesWindow(series, outcome)
    return SeriesWindow(calm, noted(outcome, spikes), spikes)


def noted(outcome: Outcome, spikes: int) -> Outcome:
    """Add to an outcome how many spikes were taken out before it was reached."""
    if not spikes:
        return outcome
    note = f"Spikes replaced by the median of their neighbours: {spikes}."
    return Outcome(outcome.kind, f"{outcome.sentence} {note}")


def judged(series: Array) -> Outcome:
    """Say whether and how far a series can carry a conclusion.

    Args:
        series: Snapshots as `checked_series` returns them, shape [time, channel].

    Returns:
        The outcome, the spikes of the series not considered.
    """
    length = series.shape[0]
    refusal = _refusal(series)
    if refusal is not None:
        return refusal
    if is_still(series).all():
        return Outcome(Kind.CONSTANT, "Nothing moves in the window; the forecast is its value.")
    if length < FEW:
        return Outcome(Kind.WEAK, f"Only {length} snapshots: the data say little; observe at least {FEW}.")
    return Outcome(Kind.OK, f"Forecast from {length} snapshots.")


def is_still(series: Array) -> NDArray[np.bool_]:
    """Tell which channels move by no more than rounding error, shape [channel]."""
    extent = np.abs(series).max(axis=0)
    reach = series.max(axis=0) - series.min(axis=0)
    still: NDArray[np.bool_] = (reach <= _STILL * extent) | (extent < SMALLEST)
    return still


def without_spikes(series: Array) -> tuple[Array, int]:
    """Replace isolated outliers by the median of their neighbours.

    A value is a spike where it lies outside its six neighbours (three on each side, fewer at the ends) both by more
    than two and a half times their range and by more than six deviations of noise, judged by the channel's median
    step; a channel that mostly stands still offers no noise to judge by. Decays by less than two thirds a step,
    oscillations and steps that last lie inside. A step of the very last snapshot alone cannot be told from a spike,
    and is taken for one.

    Args:
        series: Snapshots, shape [time, channel].

    Returns:
        The series (itself where it holds no spike or fewer than `FEW` snapshots) and how many values were replaced.
    """
    if series.shape[0] < FEW:
        return series, 0
    low, high = _neighbour_bounds(series)
    slack = SPIKE_RANGES * (high - low)
    suspects = np.argwhere((series > high + slack) | (series < low - slack))
    if not len(suspects):
        return series, 0
    excess = np.maximum(series - high, low - series)
    calm, count = series.copy(), 0
    for time, channel in suspects:
        step = np.median(np.abs(np.diff(series[:, channel])))
        if 0 < SPIKE_STEPS * step < excess[time, channel]:
            calm[time, channel] = _neighbour_median(series[:, channel], int(time))
            count += 1
    return (calm, count) if count else (series, 0)


def _neighbour_bounds(series: Array) -> tuple[Array, Array]:
    """Smallest and largest neighbour of every value, by shifted copies: no gather, so 10,000 channels stay cheap."""
    low, high = np.full_like(series, math.inf), np.full_like(series, -math.inf)
    for shift in range(1, NEIGHBOURS + 1):
        for here, there in ((slice(shift, None), slice(None, -shift)), (slice(None, -shift), slice(shift, None))):
            np.minimum(low[here], series[there], out=low[here])
            np.maximum(high[here], series[there], out=high[here])
    return low, high


def _neighbour_median(channel: Array, time: int) -> float:
    neighbours = np.concatenate([channel[max(0, time - NEIGHBOURS) : time], channel[time + 1 :][:NEIGHBOURS]])
    return float(np.median(neighbours))


def _refusal(series: Array) -> Outcome | None:
    length = series.shape[0]
    if length < FEWEST:
        return Outcome(Kind.SHORT, f"{length} snapshots are too few; observe at least {FEWEST}.")
    largest = np.abs(series).max()
    if not np.isfinite(largest):
        time, channel = np.argwhere(~np.isfinite(series))[0]
        sentence = f"Snapshot {time} of channel {channel} is {series[time, channel]}; lower the step size or restart."
        return Outcome(Kind.NONFINITE, sentence)
    if largest > LARGEST:
        return Outcome(Kind.HUGE, f"Values up to {largest:.1e} overflow when squared; rescale or restart the run.")
    return None
