"""The window's level, shrunk by its own signal-to-noise ratio: the baseline without a model that is hard to beat."""

from dataclasses import dataclass

from extrapolation.shrinkage import shrunk
from ray_glocal.koopman.forecasters.answer import Answer
from ray_glocal.koopman.forecasters.mean import Mean
from ray_glocal.koopman.window import SeriesWindow


@dataclass(frozen=True)
class Level(Mean):
    """Answer the mean of the window's second half times snr^2 / (1 + snr^2), with the mean's own deviation.

    The empirical Bayes estimate of a value whose prior has variance mean^2 about zero. Sign and deviation are those of
    `mean`; what shrinks is the size that a noisy window can claim.
    """

    def _answer(self, window: SeriesWindow, horizon: float) -> Answer:
        plain = super()._answer(window, horizon)
        return Answer(shrunk(plain.mean, plain.deviation), plain.deviation, plain.outcome)
