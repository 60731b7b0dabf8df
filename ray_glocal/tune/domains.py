"""The domains that a search is over: something to adapt, something to choose, and the same that Tune was told."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.tune.adapt import nothing_continuous
from ray_glocal.tune.changes import changes
from ray_glocal.tune.space import Split, split

logger = logging.getLogger(__name__)


def searchable(parts: Split) -> Split:
    """A space that can be searched.

    Raises:
        ArgumentError: Nothing in it is continuous, or nothing is discrete.
    """
    if not parts.continuous:
        raise nothing_continuous(parts.source)
    if not parts.discrete:
        rule = "hold at least one discrete domain to search across trials"
        remedy = (
            'Add e.g. "width": tune.choice([64, 128]), or a choice of one value to vary start values only; '
            "a single GlocalSession needs no searcher."
        )
        raise ArgumentError("space", rule, sorted(parts.source), remedy)
    return parts


def agreed_space(own: Split, config: Mapping[str, Any], adapt: Sequence[str] | None) -> Split:
    """The space that proposals are issued from: Tune's copy of the searcher's, where it holds one.

    Args:
        own: The searcher's.
        config: What Tune was told.
        adapt: Names to adapt; None for every continuous domain.

    Raises:
        ArgumentError: `config` holds other domains.
    """
    passed = {"/".join(p) for p in _paths(split(config))}
    if not passed:
        return own  # constants in `config` are merged in by Tune itself
    names = {"/".join(p) for p in _paths(own)}
    if passed != names:
        rule = f"hold the same domains as the searcher's space, {sorted(names)}"
        raise ArgumentError("config", rule, sorted(passed), "Pass the same dict to both, or to the searcher only.")
    parts = searchable(split(config, adapt=adapt))
    differences = changes(own, parts)
    if differences:
        rule = "hold the searcher's space, of which a restored one is that of the experiment"
        remedy = "Pass the same dict to both; for another space begin another experiment, under a name of its own."
        raise ArgumentError("config", rule, "; ".join(differences), remedy)
    return parts


def warn_of_grids(own: Split, samples: int | None) -> None:
    """Under Tune's own searcher a grid multiplies the trials: who expects that is told.

    Args:
        own: The searcher's space.
        samples: How many trials there will be; None where nobody says.
    """
    values = math.prod(own.grids.values())
    if own.grids and samples is not None:
        logger.warning(
            "tune.grid_search counts as a choice here: num_samples=%d makes %d trials, not %d. To try each of the "
            "%d combinations of %s, set num_samples to %d or more.",
            *(samples, samples, samples * values, values, sorted(own.grids), 2 * values),
        )


def _paths(parts: Split) -> list[tuple[str, ...]]:
    return [c.path for c in parts.continuous] + [d.path for d in parts.discrete]
