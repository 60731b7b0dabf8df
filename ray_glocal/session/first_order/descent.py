"""Everything but rates: down the mean of many noisy derivatives, in steps that noise shortens.

Each entry moves by its mean derivative over the root mean square of the same, the step of Adam (Kingma and Ba 2015,
arXiv:1412.6980) taken as an outer optimizer: what keeps its sign moves by whole steps however small it is, and what
drowns in noise hardly moves. Only together may the entries promise no more than a first-order model can keep.
"""

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.tuning import HEAVIEST, PROMISE, RATE


def descend(memory: Memory, kinds: Kinds, weight: float = 1.0) -> Array:
    """Displacements on the line, shape [q]; zero for learning rates and decay rates.

    Args:
        memory: Of the derivatives.
        kinds: What the entries are.
        weight: Twentieths of training that the last observation stands for.
    """
    move = np.where(kinds.others, -RATE * min(weight, HEAVIEST) * memory.ratio, 0.0)
    promised = float(np.sum(np.abs(move * memory.average)))
    return move * (PROMISE / promised) if promised > PROMISE else move
