"""The user's learning-rate schedule: the session adapts the rate that the schedule multiplies."""

from collections.abc import Sequence

from torch.optim.lr_scheduler import LRScheduler


def rescale(scheduler: LRScheduler, ratios: Sequence[float]) -> None:
    """Multiply the base learning rate of every parameter group, in nested schedules too.

    Args:
        scheduler: A torch scheduler; closed-form ones read `base_lrs`, chainable ones the group itself, which the
            caller multiplies.
        ratios: New over old rate, one per parameter group.
    """
    scheduler.base_lrs = [base * ratio for base, ratio in zip(scheduler.base_lrs, ratios, strict=True)]
    for inner in getattr(scheduler, "_schedulers", ()):  # SequentialLR and ChainedScheduler hold theirs there
        rescale(inner, ratios)
