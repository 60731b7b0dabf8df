"""Cases whose truth is of no use: training stood at the edge of stability."""

import numpy as np

from ray_glocal.validation.case import Case
from ray_glocal.validation.tuning import EXPLODED


def exploded(case: Case) -> bool:
    """Whether some future's exact hypergradient is not finite, or too large to foretell any step of use."""
    elasticity = np.abs(case.truths) / np.abs(case.final_losses)[:, None]
    return not bool(np.all(elasticity <= EXPLODED))
