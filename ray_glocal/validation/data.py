"""The data of a validated run: batches in seeded orders, and the factors of the user's schedule."""

import copy
import random
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Problem
from ray_glocal.session.generators import own_generators, undisturbed
from ray_glocal.session.schedule import Schedule


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
    """What a scheduler multiplies each parameter group's rate by at each step; it comes back as it was.

    Raises:
        ArgumentError: As of `Schedule`.
    """
    if scheduler is None:
        return None
    kept, factors = copy.deepcopy(scheduler.state_dict()), []
    with problem.rewound(), warnings.catch_warnings():
        # The optimizer does not step between, and torch warns of that.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        schedule = Schedule(scheduler, problem)
        try:
            problem.write_options(None, problem.start_values())
            schedule.apply()
            for _ in range(steps):
                rates = [float(group["lr"]) for group in problem.optimizer.param_groups]
                factors.append(tuple(rate / base for rate, base in zip(rates, problem.base_rates(), strict=True)))
                schedule.step()
        finally:
            scheduler.load_state_dict(kept)
    return factors
