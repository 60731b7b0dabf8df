"""Learning rates: to where an e-fold more of them would gain nothing any more at averaged weights.

The window elasticity of a rate is the relative change of the loss along the way that its parameters went lately. It is
negative where training could go faster. Averaging takes out the noise of a large rate, as annealing will, so that no
target is needed: it comes to zero near the rate that is best for the whole training (method: grids of seven rates).
"""

from dataclasses import replace

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.observation import Observation
from ray_glocal.session.first_order.tuning import (
    CLIPPED,
    DOWN,
    GAIN,
    RAISING_ENDS,
    RATE_ELAPSED_MOST,
    RATES_LEFT_ALONE,
    SMOOTH,
    UP,
)


def left_alone(*, annealed: bool, progress: float) -> bool:
    """Whether rates are left alone: the schedule takes care of what is left.

    Args:
        annealed: Whether it lowers the rates in the end.
        progress: Share of training that has passed.
    """
    return annealed and progress >= RATES_LEFT_ALONE


def explained(seen: Observation, smoothed: float, *, moves: bool) -> str:
    """The sentence of one rate.

    Args:
        seen: Averaged weights.
        smoothed: Its window elasticity, smoothed.
        moves: Whether it moves.
    """
    sentence = f"window elasticity {smoothed:+.2g} lately"
    if moves:
        return sentence
    if left_alone(annealed=seen.annealed, progress=seen.progress):
        return f"{sentence}; beneath a schedule that anneals rates are left alone in the last part of training"
    if seen.annealed and seen.progress >= RAISING_ENDS:
        return f"{sentence}; beneath a schedule that anneals rates are raised early alone"
    return f"{sentence}; it is not raised to where training was lost" if smoothed < 0 else sentence


def follow(seen: Observation, memory: Memory, kinds: Kinds) -> tuple[Array, Memory]:
    """Move learning rates against their window elasticities.

    n rates share one loss, so that each elasticity is about an n-th of what a single rate's would be: it is multiplied
    by n. Where a schedule stands low a rate is raised by less: what would be right there is not for its peak.

    Args:
        seen: Averaged weights.
        memory: Of the earlier elasticities.
        kinds: Which entries are rates.

    Returns:
        e-folds, shape [q], zero for all that are no rates; and the memory with the observation.
    """
    elasticity = np.clip(np.nan_to_num(seen.elasticity, nan=CLIPPED), -CLIPPED, CLIPPED)
    smoothed = np.where(
        np.isnan(memory.rate_elasticity), elasticity, SMOOTH * memory.rate_elasticity + (1 - SMOOTH) * elasticity
    )
    memory = replace(memory, rate_elasticity=np.where(kinds.rates, smoothed, np.nan))
    if left_alone(annealed=seen.annealed, progress=seen.progress):
        return np.zeros_like(elasticity), memory
    elapsed = min(seen.elapsed, RATE_ELAPSED_MOST)
    move = np.clip(-GAIN * elapsed * np.sum(kinds.rates) * smoothed, -DOWN, UP * elapsed)
    move = np.where(move > 0, move * seen.height * (seen.progress < RAISING_ENDS or not seen.annealed), move)
    room = np.maximum(memory.ceiling - seen.line, 0.0)
    return np.where(kinds.rates, np.minimum(move, room), 0.0), memory
