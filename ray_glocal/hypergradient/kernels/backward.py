"""Backward passes as functions of their own."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Pass = Callable[..., Any]


def applied(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    """Call an autograd function.

    Outside of `torch.func` transforms its `apply` adds to the one it inherits only the reading of a signature, call by
    call, which takes longer than many a kernel.
    """
    transformed = torch._C._are_functorch_transforms_active()
    holder: Any = function if transformed else super(torch.autograd.Function, function)
    return holder.apply(*inputs)


def unseen(derivative: Pass) -> Pass:
    """A function's `backward` of its context, the saved tensors and cotangents, at whose operations no mode looks.

    Ours, where `torch.autograd.grad` is entered, would look at each of them to find nothing. It must see how saved
    tensors are fetched, for layers that are checkpointed run once more then.
    """

    @wraps(derivative)
    def alone(ctx: Any, *cotangents: Tensor | None) -> Any:
        saved = ctx.saved_tensors
        with torch._C.DisableTorchFunction():
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
