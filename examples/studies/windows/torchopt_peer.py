"""The window by `torchopt` (Ren et al. 2023, arXiv:2211.06934): its meta-optimizer on its functional pieces.

`torchopt.MetaSGD` differentiates in the learning rate and in momentum. It hands weight decay to an operator's `alpha`,
which takes no tensor that requires a gradient; the decay is therefore a transformation of our own, chained to theirs.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torchopt
from torch import Tensor
from torchopt.base import EmptyState, GradientTransformation
from torchopt.combine import chain
from torchopt.transform import scale, trace

from ray_glocal.hypergradient import Problem
from windows.unroll import joined, leaves


def decay(strength: Tensor) -> GradientTransformation:
    """Adds parameters times a strength that requires a gradient."""

    def update(updates: Any, state: Any, *, params: Any = None, inplace: bool = True) -> tuple[Any, Any]:
        return tuple(u + strength * p for u, p in zip(updates, params, strict=True)), state

    return GradientTransformation(lambda params: EmptyState(), update)


def meta_sgd(problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Tensor:
    """Local hypergradient [q] in options of SGD, from a fresh optimizer, which is all that `trace` can begin with."""
    hyper, model = leaves(problem), problem.model
    pieces = [decay(hyper["weight_decay"]), trace.flat(hyper["momentum"]), scale.flat(-hyper["lr"])]
    start = torchopt.extract_state_dict(model, by="reference")
    optimizer = torchopt.MetaOptimizer(model, chain.flat(*pieces))
    try:
        for batch in batches:
            optimizer.step(problem.train_loss(model, batch))
        loss = torch.stack([problem.val_loss(model, batch) for batch in val]).mean()
        return joined(torch.autograd.grad(loss, list(hyper.values())))
    finally:
        torchopt.recover_state_dict(model, start)
