"""The rule of the glocal hypergradient's paper, for reproduction."""

from dataclasses import dataclass, field

from ray_glocal.forecast import Array
from ray_glocal.koopman.disk import UNIT_DISK
from ray_glocal.koopman.dmd import DMD
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.forecasters.decomposition import check_settings, explained, fitted, table
from ray_glocal.koopman.prediction import steady_part
from ray_glocal.koopman.rank import OptimalRank, Rank
from ray_glocal.koopman.selection import NearOne
from ray_glocal.koopman.spectrum import Spectrum
from ray_glocal.koopman.tuning import TOLERANCE
from ray_glocal.koopman.window import SeriesWindow


@dataclass(frozen=True)
class Paper(WindowForecaster):
    """Keep the modes of a Hankel DMD whose eigenvalue is one, drop the rest: the value at infinity.

    Abstains where no eigenvalue is one within the tolerance, which under minibatch noise is often. Whatever horizon is
    asked, the answer is that at the end of time; kept modes are taken to last for ever.
    Hataya & Kawahara 2024 (arXiv:2402.02741); the tolerance is ours, the paper states none.

    Args:
        tolerance: Largest |eigenvalue - 1| that counts as one, above 0.
        rank: As for `fit_dmd`.
        delays: Snapshots in a delay vector; None chooses them by the window.

    Raises:
        ArgumentError: `tolerance`, `rank` or `delays` out of range.
    """

    tolerance: float = TOLERANCE
    rank: Rank | int | None = field(default_factory=OptimalRank)
    delays: int | None = None

    def __post_init__(self) -> None:
        NearOne(self.tolerance)
        check_settings(self.rank, self.delays)

    def spectrum(self, series: Array) -> Spectrum:
        """Tabulate the modes of `series` [time, channel]: which one is the answer, and why the others are dropped.

        Raises:
            ArgumentError: `series` is no real [time, channel] array.
        """
        return table(series, self._fit, lambda length: UNIT_DISK, NearOne(self.tolerance))

    def _fit(self, window: SeriesWindow) -> DMD:
        return fitted(window, self.rank, self.delays, "plain")

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        prediction = steady_part(self._fit(window), NearOne(self.tolerance))
        return explained(window, prediction, horizon)
