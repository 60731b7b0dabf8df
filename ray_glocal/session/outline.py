"""The outline of a learning-rate schedule over a whole training."""

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.session.tuning import ANNEALED, END, HIGHER


class Outline:
    """How high a learning-rate schedule stands at each step, as a share of its peak, and whether it anneals in the end.

    Args:
        factors: On the base rates over the whole training, shape [step, group].
    """

    def __init__(self, factors: Array) -> None:
        mean = factors.mean(1)
        end = mean[-max(1, round(END * len(mean))) :]
        self.annealed = bool(end.mean() < ANNEALED * mean.mean())
        self._heights = mean / max(float(mean.max(initial=0.0)), np.finfo(float).tiny)
        self._ahead = np.maximum.accumulate(self._heights[::-1])[::-1]

    def height(self, step: int) -> float:
        """Factor on the rates in the last of so many steps, as a share of the schedule's largest."""
        return float(self._heights[self._place(step)])

    def warms_up(self, step: int) -> bool:
        """Whether it will stand higher yet."""
        place = self._place(step)
        return bool(self._ahead[place] > HIGHER * self._heights[place])

    def _place(self, step: int) -> int:
        return min(max(step, 1), len(self._heights)) - 1
