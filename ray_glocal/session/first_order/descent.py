"""Everything but rates: down the mean of many noisy derivatives, in steps that noise shortens.

Each entry moves by its mean derivative m over the root mean square r of the same, the step of Adam (Kingma and Ba 2015,
arXiv:1412.6980) taken as an outer optimizer, and of that by the share that is no noise (Wiener 1949), which is
(m/r)^2 / ((m/r)^2 + n), n being a part of what noise alone would lead to: what keeps its sign moves by nearly whole
steps however small it is, and what drowns in noise hardly moves. A whole step is min(STRIDE, RATE * elapsed *
clip(a / STRONG, clip(a / WEAK, SHORTEST, 1), LONGEST)), a the size of m: longer where the loss depends strongly on an
entry, shorter where it hardly does, and long again where a value is so small that nothing depends on it yet: a penalty
of a millionth has a small derivative for being small. All entries together may promise PROMISE at most, which only
catches what has run away.
"""

import math

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.tuning import (
    AMPLIFIED_UNTIL,
    CERTAIN,
    ELAPSED_MOST,
    FAINT_GAIN,
    FAINT_RISE,
    LONGEST,
    PROMISE,
    RATE,
    SHORTEST,
    STRIDE,
    STRONG,
    SURE,
    WEAK,
)


def descend(memory: Memory, kinds: Kinds, line: Array, elapsed: float = 1.0, progress: float = 1.0) -> Array:
    """Displacements on the line, shape [q]; zero for learning rates and decay rates.

    Args:
        memory: Of the derivatives.
        kinds: What the entries are.
        line: Coordinates of the present values, shape [q].
        elapsed: Twentieths of training that the last observation stands for.
        progress: Share of training that has passed.
    """
    size, signal = np.abs(memory.average), memory.signal
    # The span of an observation is a share of the steps so far, so that early ones show less of what is to come.
    grown = size * max(1.0, math.sqrt(AMPLIFIED_UNTIL / max(progress, AMPLIFIED_UNTIL / LONGEST**2)))
    length = RATE * min(elapsed, ELAPSED_MOST) * np.clip(grown / STRONG, np.clip(grown / WEAK, SHORTEST, 1.0), LONGEST)
    if memory.count >= SURE:
        faint = kinds.scaled(line) & (signal < -CERTAIN)
        length = np.where(faint, np.maximum(length, _raised(size)), length)
    move = np.where(kinds.others, -signal * np.minimum(length, STRIDE), 0.0)
    promised = float(np.sum(np.abs(move * memory.average)))
    return move * (PROMISE / promised) if promised > PROMISE else move


def _raised(elasticity: Array) -> Array:
    """How far a value is raised: its elasticity grows with it, until it has bought what is hoped for, shape [q]."""
    hoped: Array = np.log1p(FAINT_GAIN / np.maximum(elasticity, np.finfo(float).tiny))
    return np.minimum(hoped, FAINT_RISE)
