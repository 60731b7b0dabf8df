"""Backward passes as functions of their own."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied, unwatched

Pass = Callable[..., Any]


def unseen(derivative: Pass) -> Pass:
    """A function's `backward` of its context, the saved tensors and cotangents, at whose operations no mode looks.

    Ours, where `torch.autograd.grad` is entered, would look at each of them to find nothing. It must see how saved
    tensors are fetched, for layers that are checkpointed run once more then.
    """

    @wraps(derivative)
    def alone(ctx: Any, *cotangents: Tensor | None) -> Any:
        saved = ctx.saved_tensors
        with unwatched():
            return derivative(ctx, saved, *cotangents)

    return alone


class Backward(torch.autograd.Function):
    """A fused backward pass, with a second derivative that its subclass adds as `backward`.

    Where cotangents are batched (`is_grads_batched`), the pass is taken for one after the other: torch's fused kernels
    have no batching rules.
    """

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        """Loop over the batch; results are stacked in their first dimension."""
        rows = [
            applied(cls, *(x if d is None else x.select(d, i) for x, d in zip(inputs, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(rows[0], Tensor):
            return torch.stack(rows), 0
        columns = [None if column[0] is None else torch.stack(column) for column in zip(*rows, strict=True)]
        return tuple(columns), tuple(None if column is None else 0 for column in columns)
