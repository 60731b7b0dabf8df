"""Which configurations the surrogate is asked about: all of them, or the likeliest places in a space too large."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ray_glocal.scheduling.factor import Array, Levels, Space
from ray_glocal.scheduling.tuning import ENUMERABLE, PARENTS, STRANGERS


def candidates(space: Space, tried: Levels, means: Array, rng: np.random.Generator) -> Levels:
    """Configurations to choose the next from [configuration, factor], each once.

    Args:
        space: The space.
        tried: Configurations with evidence [configuration, factor].
        means: What they came to.
        rng: Draws the strangers.
    """
    if space.configurations <= ENUMERABLE:
        return _every(space)
    best = tried[np.argsort(means, kind="stable")[:PARENTS]]
    sizes = np.array(space.sizes)
    strangers = rng.integers(0, sizes, (STRANGERS, len(sizes)))
    near = [_neighbours(space, parent) for parent in best]
    return np.unique(np.concatenate([best, *near, strangers]), axis=0)


@lru_cache(maxsize=16)
def _every(space: Space) -> Levels:
    grid: Levels = np.indices(space.sizes, dtype=np.int64).reshape(len(space.sizes), -1).T
    grid.setflags(write=False)
    return grid


def _neighbours(space: Space, parent: Levels) -> Levels:
    """Configurations that differ from `parent` in one factor's value."""
    total = sum(space.sizes)
    changed = np.tile(parent, (total, 1))
    factors = np.repeat(np.arange(len(space.sizes)), space.sizes)
    changed[np.arange(total), factors] = np.arange(total) - space.offsets[factors]
    return changed
