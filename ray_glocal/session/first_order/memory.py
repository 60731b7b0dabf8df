"""What first-order adaptation remembers from one observation to the next."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem
from ray_glocal.options import DECAY_RATES
from ray_glocal.session.divergence import changed_by, worth_keeping
from ray_glocal.session.first_order.tuning import ABOVE, DOUBT, FAINT, LEVEL, MEAN, NOISE, SQUARE


@dataclass(frozen=True)
class Kinds:
    """What the entries of the line are, for each kind moves by a rule of its own; all arrays have shape [q].

    Args:
        rates: Learning rates.
        decays: Decay rates, momentum among them.
        logs: Whose coordinate is the logarithm of the value.
        logits: Whose coordinate is it near the lower bound.
    """

    rates: NDArray[np.bool_]
    decays: NDArray[np.bool_]
    logs: NDArray[np.bool_]
    logits: NDArray[np.bool_]

    @classmethod
    def of(cls, problem: Problem) -> "Kinds":
        """The kinds of a problem's entries."""
        fields = [b.field for b in problem.bindings for _ in range(b.hyperparameter.size)]
        scales = [b.hyperparameter.scale for b in problem.bindings for _ in range(b.hyperparameter.size)]
        kinds = [f == "lr" for f in fields], [f in DECAY_RATES for f in fields]
        return cls(*map(np.array, (*kinds, [s == "log" for s in scales], [s == "logit" for s in scales])))

    def scaled(self, line: Array) -> NDArray[np.bool_]:
        """Which values grow by factors as their coordinates `line` [q] do."""
        return self.logs | (self.logits & (line < FAINT))

    @property
    def others(self) -> NDArray[np.bool_]:
        """What neither is."""
        return ~(self.rates | self.decays)


@dataclass(frozen=True)
class Memory:
    """Arrays have shape [q].

    Args:
        searching: Whether the learning rate's order of magnitude is searched for.
        lowest: Lowest loss that the search has seen; infinite before the first.
        level: Loss of the last observations, smoothed; infinite before the first after the search.
        best: Lowest level so far.
        above: Observations in a row at which the level stood well above it.
        rate_elasticity: Window elasticity of each learning rate, smoothed; NaN before the first after the search.
        mean: Moving average of the elasticities of all entries, before its correction for a start at zero.
        square: That of their squares.
        count: How many are in them.
        ceiling: Coordinate that a learning rate is not raised beyond: training was lost above it.
    """

    searching: bool
    lowest: float
    level: float
    best: float
    above: int
    rate_elasticity: Array
    mean: Array
    square: Array
    count: int
    ceiling: Array

    @classmethod
    def start(cls, size: int, *, searching: bool) -> "Memory":
        """Nothing known yet of `size` entries."""
        nothing = np.zeros(size)
        unknown, open_ = np.full(size, np.nan), np.full(size, np.inf)
        return cls(searching, np.inf, np.inf, np.inf, 0, unknown, nothing, nothing.copy(), 0, open_)

    def learn(self, elasticity: Array) -> "Memory":
        """With another observation of all entries."""
        mean = MEAN * self.mean + (1 - MEAN) * elasticity
        square = SQUARE * self.square + (1 - SQUARE) * elasticity**2
        return replace(self, mean=mean, square=square, count=self.count + 1)

    def judge(self, loss: float) -> "Memory":
        """With another loss, which is no trouble."""
        if self.searching:
            return self
        level = loss if np.isinf(self.level) else LEVEL * self.level + (1 - LEVEL) * loss
        above = self.above + 1 if level > changed_by(self.best, ABOVE) else 0
        return replace(self, level=level, best=min(self.best, level), above=above)

    def worth_keeping(self, loss: float, lowest: float) -> bool:
        """Whether a state is worth going back to: in the search no worse than any, later near the level.

        Args:
            loss: At the state.
            lowest: Of the whole passes so far: a few batches are easy at times.
        """
        if self.searching:
            return loss <= self.lowest
        return worth_keeping(loss, self.level, lowest, ABOVE)

    def forget(self) -> "Memory":
        """After a retreat, which ends the search too: what was felt belongs to a path that was given up."""
        unknown = np.full_like(self.rate_elasticity, np.nan)
        return replace(self, searching=False, rate_elasticity=unknown, level=min(self.level, self.best), above=0)

    def unlearn(self) -> "Memory":
        """Without the observations of all entries: what they led to has done harm."""
        return replace(self, mean=np.zeros_like(self.mean), square=np.zeros_like(self.square), count=0)

    @property
    def average(self) -> Array:
        """Mean of the elasticities and of some zeros, for one or two observations say little; zero before the first."""
        return self.mean / (1 - MEAN ** (self.count + DOUBT)) if self.count else self.mean

    @property
    def spread(self) -> Array:
        """Their root mean square."""
        return np.sqrt(self.square / (1 - SQUARE**self.count)) if self.count else self.square

    @property
    def ratio(self) -> Array:
        """Mean over root mean square, between -1 and 1 or thereabouts: nearer to zero where noise is larger."""
        spread = self.spread
        return np.divide(self.average, spread, out=np.zeros_like(spread), where=spread > 0)

    @property
    def signal(self) -> Array:
        """The ratio, shortened for the share of it that is noise, as Wiener's filter does."""
        ratio = self.ratio
        square = ratio**2
        return np.divide(ratio * square, square + NOISE * self._noise(), out=np.zeros_like(ratio), where=square > 0)

    def _noise(self) -> float:
        """Mean square of the ratio where all observations are noise: by how far its mean has brought that down."""
        squares = (1 - MEAN) / (1 + MEAN) * (1 - MEAN ** (2 * self.count))  # of the weights in the mean
        return squares / (1 - MEAN ** (self.count + DOUBT)) ** 2

    @property
    def deviation(self) -> Array:
        """Standard deviation of the mean; infinite before the second observation."""
        if self.count < 2:
            return np.full_like(self.mean, np.inf)
        noise: Array = np.sqrt(np.maximum(self.spread**2 - self.average**2, 0.0))
        deviation: Array = noise * np.sqrt((1 - MEAN) / (1 + MEAN))
        return deviation

    def as_plain(self) -> dict[str, Any]:
        """The memory as plain data."""
        return {n: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for n, v in vars(self).items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Memory":
        """Inverse of `as_plain`."""
        restored: dict[str, Any] = {n: v.numpy() if isinstance(v, torch.Tensor) else v for n, v in plain.items()}
        return cls(**restored)
