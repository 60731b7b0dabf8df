"""Seeding as it was at first: Thompson draws from an additive model that knows no order, half of the samples cover."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ray_glocal import GlocalSearch
from ray_glocal.scheduling.ledger import Record
from ray_glocal.scheduling.seeding import Proposal, Space, covered, drawn, handed_down

EXPLORE = 0.2  # share of the proposals with fresh start values
NOISE = 0.3  # deviation of one trial's loss around an additive model, in spreads of all losses
FAILURE = 3.0  # what a loss counts as at most, in the same units


class AdditiveSearch(GlocalSearch):
    """`GlocalSearch` with the proposals of its first version."""

    def _propose(self) -> Proposal:
        ledger, space = self.ledger, self._issued.space
        index, half = ledger.proposals, -(-(self._samples or 2) // 2)
        cover = space.configurations if space.configurations <= 2 * half else half
        kin = {t: r for t, r in ledger.trials.items() if r.usable and r.status == "completed"}
        if index < cover or not kin:
            return covered(space, self._seed, index, cover)
        rng = np.random.default_rng([self._seed, index])
        levels = sampled(space, kin, rng)
        ancestor = None if rng.random() < EXPLORE else nearest(space, kin, levels)
        if ancestor is None:
            return Proposal(levels, drawn(space, index, self._seed), "explore")
        return Proposal(levels, handed_down(space, kin[ancestor], rng), "seed", ancestor)


def nearest(space: Space, kin: Mapping[str, Record], levels: tuple[int, ...]) -> str | None:
    """The trial with all decisive factors equal and most others too; ties go to the lower loss."""

    def rank(trial: str) -> tuple[int, float]:
        return -sum(a == b for a, b in zip(kin[trial].added.levels, levels, strict=True)), final(kin[trial])

    decisive = [i for i, factor in enumerate(space.factors) if factor.decisive]
    able = [t for t, r in kin.items() if all(r.added.levels[i] == levels[i] for i in decisive)]
    return min(able, key=rank, default=None)


def sampled(space: Space, kin: Mapping[str, Record], rng: np.random.Generator) -> tuple[int, ...]:
    """One draw from the posterior of a linear regression on indicators of the factors' values, minimised."""
    levels = np.array([record.added.levels for record in kin.values()])
    design = np.hstack([np.ones((len(levels), 1)), space.indicators(levels)])
    losses = standardised(np.array([final(record) for record in kin.values()])) / NOISE**2
    precision = np.eye(design.shape[1]) + design.T @ design / NOISE**2
    mean = np.linalg.solve(precision, design.T @ losses)
    noise = np.linalg.solve(np.linalg.cholesky(precision).T, rng.standard_normal(len(mean)))
    effects = np.split((mean + noise)[1:], np.cumsum(space.sizes)[:-1])
    return tuple(int(np.argmin(effect)) for effect in effects)


def standardised(finals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses in robust spreads from their median, bounded."""
    gaps = finals - np.median(finals)
    spread = float(np.median(np.abs(gaps))) * 1.4826 or float(np.ptp(finals)) or 1.0
    return np.clip(gaps / spread, -FAILURE, FAILURE)


def final(record: Record) -> float:
    """What a trial came to."""
    return record.latest.final if record.latest is not None else float("inf")
