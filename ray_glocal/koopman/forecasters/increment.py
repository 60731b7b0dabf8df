"""DMD on differences: no steady part needs to be found."""

from dataclasses import dataclass, field

from ray_glocal.forecast import Array, Forecast
from ray_glocal.koopman.disk import damped_disk
from ray_glocal.koopman.dmd import DMD
from ray_glocal.koopman.forecasters.answer import Answer, answered
from ray_glocal.koopman.forecasters.decomposition import check_settings, explained, fitted, table
from ray_glocal.koopman.prediction import predict
from ray_glocal.koopman.rank import OptimalRank, Rank
from ray_glocal.koopman.selection import EVERY
from ray_glocal.koopman.spectrum import Spectrum
from ray_glocal.koopman.window import Window


@dataclass(frozen=True)
class Increment:
    """Answer the last snapshot plus the sum of the increments that a DMD on differences predicts.

    The last snapshot's own noise passes into the forecast unsmoothed; on smooth windows this is the sharpest form.
    Eigenvalues are clipped to `damped_disk`: a trend fades within ten windows, so there always is a limit.

    Args:
        rank: As for `fit_dmd`.
        delays: Snapshots in a delay vector, lowered where the window is short; None chooses them by the window.

    Raises:
        ArgumentError: `rank` or `delays` out of range.
    """

    rank: Rank | int | None = field(default_factory=OptimalRank)
    delays: int | None = None

    def __post_init__(self) -> None:
        check_settings(self.rank, self.delays)

    def forecast(self, series: Array, horizon: float) -> Forecast:
        """Predict `series` [time, channel] `horizon` steps ahead of its last snapshot.

        Args:
            series: Snapshots one step apart, oldest first.
            horizon: Steps, 0 to math.inf.

        Returns:
            The forecast.

        Raises:
            ArgumentError: `series` is no real [time, channel] array, or `horizon` is out of range.
        """
        return answered(series, horizon, self._answer)

    def spectrum(self, series: Array) -> Spectrum:
        """Tabulate the modes of `series` [time, channel] as the forecast treats them.

        Raises:
            ArgumentError: `series` is no real [time, channel] array.
        """
        return table(series, self._fit, damped_disk, EVERY)

    def _fit(self, window: Window) -> DMD:
        return fitted(window, self.rank, self.delays, "increment")

    def _answer(self, window: Window, horizon: float) -> Answer:
        prediction = predict(self._fit(window), horizon, damped_disk(window.length))
        return explained(window, prediction, horizon)
