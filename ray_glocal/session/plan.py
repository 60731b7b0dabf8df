"""What a learning-rate scheduler was planned for: how many steps, and whether those are of this training."""

from typing import Any

import numpy as np
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from ray_glocal.forecast import Array
from ray_glocal.lr_schedulers import held, turns
from ray_glocal.session.tuning import HALF, NEGLIGIBLE, OUTLASTED


def planned(scheduler: Any) -> int | None:
    """Steps after which a scheduler has come to its end; None for one that goes on, or whose plan cannot be read."""
    match scheduler:
        case lr_scheduler.SequentialLR():
            last = planned(held(scheduler)[-1])
            return None if last is None else [0, *turns(scheduler)][-1] + last
        case lr_scheduler.ChainedScheduler():
            return max((steps for part in held(scheduler) if (steps := planned(part)) is not None), default=None)
        case lr_scheduler.CosineAnnealingLR():
            return int(scheduler.T_max)
        case lr_scheduler.OneCycleLR():
            return int(scheduler.total_steps)
        case lr_scheduler.PolynomialLR():
            return int(scheduler.total_iters)
        case lr_scheduler.LinearLR() if scheduler.end_factor < scheduler.start_factor:
            return int(scheduler.total_iters)
        case lr_scheduler.MultiStepLR() if scheduler.milestones:
            return int(max(scheduler.milestones))
        case _:
            return None


def mismatch(scheduler: LRScheduler, factors: Array) -> str:
    """The sentence that says a schedule was planned in epochs, or for another training; empty where nothing speaks so.

    Args:
        scheduler: The scheduler.
        factors: What it makes of the rates at each step of the whole training, shape [step, group].
    """
    kind, total, steps = type(scheduler).__name__, len(factors), planned(scheduler)
    remedy = "The session steps it after every inner step, not after every epoch: build it for all steps of training."
    if steps is not None and OUTLASTED * steps <= total:
        return f"{kind} was planned for {steps} steps, and training has {total}. {remedy}"
    heights = factors.mean(1)
    faint = np.flatnonzero(heights >= NEGLIGIBLE * heights.max(initial=0.0))
    last = int(faint[-1]) + 1 if len(faint) else 0
    if last <= HALF * total:
        return f"{kind} takes the rates below a thousandth of their peak after {last} of {total} steps. {remedy}"
    return ""
