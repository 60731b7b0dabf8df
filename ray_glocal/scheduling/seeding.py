"""Whom to try next: cover the space, then seed from those who learned most.

Pure functions of the ledger, the space, a seed and the number of proposals made so far, so that another process with
the same ledger makes the same proposal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from ray_glocal.scheduling.axis import Axis
from ray_glocal.scheduling.coverage import covering, quantiles
from ray_glocal.scheduling.ledger import Ledger, Record

EXPLORE = 0.2  # share of the seeded proposals whose start values come from the domains instead of from kin
VARIATION = 0.2  # standard deviation of the variation of handed-down values, in coordinates (e-folds for "log")
NOISE = 0.3  # deviation of one trial's loss around an additive model, in spreads of all losses
_HUGE = 1e100
FAILURE = 3.0  # what a failed or diverged trial counts as, in the same units


@dataclass(frozen=True)
class Factor:
    """A discrete hyperparameter.

    Args:
        name: Its name in the space, levels joined by "/".
        levels: Number of values, at least 1.
        decisive: Whether continuous values mean something else under another value of this factor, as a learning
            rate does under another optimizer; then they are handed down only where it is equal.
    """

    name: str
    levels: int
    decisive: bool = False


@dataclass(frozen=True)
class Space:
    """The two halves of a search space, without their Ray types."""

    factors: tuple[Factor, ...]
    axes: tuple[Axis, ...]

    @property
    def configurations(self) -> int:
        """Number of discrete configurations."""
        return prod(factor.levels for factor in self.factors)


@dataclass(frozen=True)
class Proposal:
    """A trial to start.

    Args:
        levels: Index of the value of each factor.
        start: Start value of each continuous hyperparameter.
        origin: "cover", "seed" or "explore".
        ancestor: Trial that the start values were handed down from, if any.
    """

    levels: tuple[int, ...]
    start: Mapping[str, float]
    origin: str
    ancestor: str | None = None


def propose(ledger: Ledger, space: Space, seed: int, cover: int) -> Proposal:
    """The next trial: the first `cover` proposals cover the space, later ones are seeded from the best so far.

    Until some trial has a finite forecast there is nothing to learn from, and covering goes on.
    """
    index = ledger.proposals
    kin = {t: r for t, r in ledger.trials.items() if r.added.proposed and _fits(r, space)}
    if index < cover or not any(r.usable for r in kin.values()):
        levels = covering([f.levels for f in space.factors], index, seed)
        return Proposal(levels, drawn(space, index, seed), "cover")
    rng = np.random.default_rng([seed, index])
    levels = sampled(space, kin, rng)
    ancestor = None if rng.random() < EXPLORE else nearest(space, kin, levels)
    if ancestor is None:
        return Proposal(levels, drawn(space, index, seed), "explore")
    return Proposal(levels, handed_down(space, kin[ancestor], rng), "seed", ancestor)


def drawn(space: Space, index: int, seed: int) -> dict[str, float]:
    """Start values from their domains, stratified over `index`."""
    shares = quantiles(len(space.axes), index, seed)
    return {axis.name: axis.draw(share) for axis, share in zip(space.axes, shares, strict=True)}


def handed_down(space: Space, ancestor: Record, rng: np.random.Generator) -> dict[str, float]:
    """The latest adapted values of `ancestor` (its start values where it reports none), slightly varied."""
    known = dict(ancestor.added.start)
    known.update(ancestor.latest.hyper if ancestor.latest else {})
    amounts = VARIATION * rng.standard_normal(len(space.axes))
    return {a.name: a.vary(known[a.name], float(x)) for a, x in zip(space.axes, amounts, strict=True)}


def nearest(space: Space, kin: Mapping[str, Record], levels: tuple[int, ...]) -> str | None:
    """The usable trial with all decisive factors equal and most others too; ties go to the lower forecast loss."""
    decisive = [i for i, factor in enumerate(space.factors) if factor.decisive]

    def rank(item: tuple[str, Record]) -> tuple[int, float]:
        record = item[1]
        equal = sum(a == b for a, b in zip(record.added.levels, levels, strict=True))
        return -equal, record.latest.final if record.latest else np.inf

    candidates = [(t, r) for t, r in kin.items() if r.usable and all(r.added.levels[i] == levels[i] for i in decisive)]
    return min(candidates, key=rank)[0] if candidates else None


def sampled(space: Space, kin: Mapping[str, Record], rng: np.random.Generator) -> tuple[int, ...]:
    """A discrete configuration by Thompson sampling: one draw from the posterior of an additive model, minimised.

    Bayesian linear regression of the forecast final losses on indicators of the factors' values, weighted by the
    forecasts' deviations (Russo et al. 2018, arXiv:1707.02038, section 4). Additive, so that the minimum of a draw is
    found factor by factor in a space of any size.
    """
    sizes = [factor.levels for factor in space.factors]
    told = [r for r in kin.values() if r.usable or _failed(r)]
    design = _indicators(sizes, np.array([r.added.levels for r in told]))
    losses, variances = _standardised(told)
    precision = np.eye(design.shape[1]) + design.T @ (design / variances[:, None])
    mean = np.linalg.solve(precision, design.T @ (losses / variances))
    noise = np.linalg.solve(np.linalg.cholesky(precision).T, rng.standard_normal(len(mean)))
    effects = np.split((mean + noise)[1:], np.cumsum(sizes)[:-1])
    return tuple(int(np.argmin(effect)) for effect in effects)


def _indicators(sizes: list[int], levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """A column of ones and one column per value of each factor, for trials [trial, factor]."""
    blocks = [np.eye(n)[levels[:, factor]] for factor, n in enumerate(sizes)]
    return np.hstack([np.ones((len(levels), 1)), *blocks])


def _standardised(told: list[Record]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses in robust spreads from their median, bounded by FAILURE, and the variance of each."""
    finals = np.array([r.latest.final if r.usable and r.latest else np.nan for r in told])
    finals = np.clip(finals, -_HUGE, _HUGE)  # so that no square or difference overflows
    known = finals[np.isfinite(finals)]
    centre = np.median(known)
    spread = float(np.median(np.abs(known - centre))) * 1.4826 or float(np.ptp(known)) or 1.0
    spread = max(spread, 1 / _HUGE)
    losses = np.clip(np.nan_to_num((finals - centre) / spread, nan=FAILURE), -FAILURE, FAILURE)
    deviations = np.array([(r.latest.deviation or 0.0) if r.usable and r.latest else 0.0 for r in told])
    return losses, NOISE**2 + np.minimum(np.minimum(deviations, _HUGE) / spread, FAILURE) ** 2


def _fits(record: Record, space: Space) -> bool:
    """Whether a recorded proposal belongs to this space: a restored ledger may be of an edited one."""
    levels = record.added.levels
    inside = all(0 <= level < f.levels for level, f in zip(levels, space.factors, strict=False))
    return len(levels) == len(space.factors) and inside and {a.name for a in space.axes} <= set(record.added.start)


def _failed(record: Record) -> bool:
    return record.diverged or record.status == "errored"
