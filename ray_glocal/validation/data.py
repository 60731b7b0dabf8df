"""The data of a validated run: batches in seeded orders, and the factors of the user's schedule."""

import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Problem
from ray_glocal.session.notices import Notices
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.state.generators import own_generators, undisturbed


def drawn(loader: Iterable[Any], seed: int, count: int) -> list[Any]:
    """Batches of as many epochs as it takes, in an order that only the seed decides.

    The loader shuffles by generators that start at the seed, and what it yields is shuffled once more: a list of
    batches has no order of its own. All generators come back.

    Raises:
        ArgumentError: The loader yields no batch, or can be used only once.
    """
    remedy = "Pass a DataLoader or a list of batches."
    if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
        rule = "be iterable more than once"
        raise ArgumentError("train_batches", rule, type(loader).__name__, remedy)
    with undisturbed(loader):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - a loader may draw from it
        for generator in own_generators(loader):
            generator.manual_seed(seed)
        order, batches = torch.Generator().manual_seed(seed), list[Any]()
        while len(batches) < count:
            epoch = list(loader)
            if not epoch:
                raise ArgumentError("train_batches", "hold at least one batch", loader, remedy)
            batches += [epoch[index] for index in torch.randperm(len(epoch), generator=order)]
    return batches[:count]


def factors_of(scheduler: LRScheduler | None, problem: Problem, steps: int) -> list[tuple[float, ...]] | None:
    """What a scheduler multiplies each parameter group's rate by at each step.

    Raises:
        ArgumentError: As of `Schedule`.
    """
    if scheduler is None:
        return None
    return [tuple(row) for row in Schedule(scheduler, problem, Notices()).foresee(steps).tolist()]
