"""The window by `higher` (Grefenstette et al. 2019, arXiv:1910.01727): its inner loop and its override of options."""

from collections.abc import Sequence
from typing import Any

import higher
import torch
from torch import Tensor

from ray_glocal.hypergradient import Problem
from windows.unroll import joined, leaves


def innerloop(problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Tensor:
    """Local hypergradient [q] in options of SGD; `higher` knows no AdamW."""
    hyper = leaves(problem)
    override = {name: [leaf] for name, leaf in hyper.items()}
    with higher.innerloop_ctx(problem.model, problem.optimizer, override=override) as (model, optimizer):
        for batch in batches:
            optimizer.step(problem.train_loss(model, batch))
        loss = torch.stack([problem.val_loss(model, batch) for batch in val]).mean()
        return joined(torch.autograd.grad(loss, list(hyper.values())))
