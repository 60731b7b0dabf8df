"""Backward passes as functions of their own."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def applied(function: type[torch.autograd.Function], *inputs: Any) -> Any:
    """Call an autograd function, whose `apply` torch left without types."""
    apply: Any = function.apply
    return apply(*inputs)


def unseen(formula: Callable[..., Result]) -> Callable[..., Result]:
    """A formula whose calls no mode looks at: a look at each costs as much as a pass over a small tensor.

    It must not unpack saved tensors, for which a layer that is checkpointed runs once more, with our kernels.
    """

    @wraps(formula)
    def alone(*inputs: Any) -> Result:
        with torch._C.DisableTorchFunction():
            return formula(*inputs)

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
