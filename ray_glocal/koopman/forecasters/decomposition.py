"""What the single-fit forecasters share: automatic delays, fit, deviation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Integral
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.koopman.deviation import window_variance
from ray_glocal.koopman.disk import Disk, damped_disk
from ray_glocal.koopman.dmd import DMD, Form, fit_judged
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.prediction import Prediction, predict
from ray_glocal.koopman.rank import OptimalRank, Rank, as_rank
from ray_glocal.koopman.selection import EVERY, Selection
from ray_glocal.koopman.spectrum import Spectrum, spectrum
from ray_glocal.koopman.tuning import DELAY_PART, WIDTH
from ray_glocal.koopman.window import SeriesWindow, checked_series, noted, window


def check_settings(rank: Rank | int | None, delays: int | None) -> None:
    """Refuse a rank or a number of delays that no window could satisfy.

    Raises:
        ArgumentError: `rank` is not as `fit_dmd` takes it, or `delays` is below 1 or not whole.
    """
    as_rank(rank)
    if delays is not None and (not isinstance(delays, Integral) or delays < 1):
        rule = "be a whole number of at least 1, or None to choose by the window"
        raise ArgumentError("delays", rule, delays, "Leave it out for None.")


def automatic_delays(length: int, channels: int) -> int:
    """Delays that make a vector about `WIDTH` wide while keeping twice as many pairs as delays.

    Args:
        length: Snapshots in the window.
        channels: Channels, or directions where they are fewer.

    Returns:
        1 to length / 3.
    """
    return max(1, min(math.ceil(WIDTH / channels), length // DELAY_PART))


def fitted(seen: SeriesWindow, rank: Rank | int | None, delays: int | None, form: Form) -> DMD:
    """Fit one form to a window.

    Args:
        seen: Any window; a refused one yields a model without modes and its outcome.
        rank: As for `fit_dmd`.
        delays: Delays wanted, lowered to what the window allows; None chooses them.
        form: As for `fit_dmd`.

    Returns:
        The model.
    """
    length, channels = seen.series.shape
    wanted = automatic_delays(length, min(length, channels)) if delays is None else delays
    most = length - 2 - (form == "increment")
    return fit_judged(seen.series, as_rank(rank), max(1, min(wanted, most)), form, seen.outcome)


def table(
    series: ArrayLike, fit: Callable[[SeriesWindow], DMD], disk: Callable[[int], Disk], selection: Selection
) -> Spectrum:
    """Tabulate the fit that a forecaster would make of a series.

    Args:
        series: Snapshots one step apart, oldest first, shape [time, channel].
        fit: The forecaster's fit.
        disk: The forecaster's disk for a window of given length.
        selection: The forecaster's choice of modes.

    Returns:
        The table, in the units of the series.

    Raises:
        ArgumentError: `series` is no real [time, channel] array.
    """
    seen = window(checked_series(series))
    return spectrum(fit(seen), disk(seen.length), selection)


def explained(seen: SeriesWindow, prediction: Prediction, horizon: float) -> Answer:
    """Answer a prediction, with the deviation of the noise that reaches it and of the window's drift in log-time.

    Args:
        seen: The window predicted from.
        prediction: The prediction.
        horizon: Steps ahead that were asked for.

    Returns:
        The answer.
    """
    deviation: Array = np.sqrt(window_variance(seen.series, horizon))
    return Answer(prediction.mean, deviation, noted(prediction.outcome, seen.spikes))


@dataclass(frozen=True)
class DampedFit(WindowForecaster):
    """Answer the prediction of one DMD whose eigenvalues are clipped to `damped_disk`.

    A trend fades within ten windows, so there always is a limit. What differs is the form.
    """

    form: ClassVar[Form]

    rank: Rank | int | None = field(default_factory=OptimalRank)
    delays: int | None = None

    def __post_init__(self) -> None:
        check_settings(self.rank, self.delays)

    def spectrum(self, series: ArrayLike) -> Spectrum:
        """Tabulate the modes of `series` [time, channel] as the forecast treats them.

        Raises:
            ArgumentError: `series` is no real [time, channel] array.
        """
        return table(series, self._fit, damped_disk, EVERY)

    def _fit(self, window: SeriesWindow) -> DMD:
        return fitted(window, self.rank, self.delays, self.form)

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        prediction = predict(self._fit(window), horizon, damped_disk(window.length))
        return explained(window, prediction, horizon)
