"""Passes over tensors [batch, cells, ...], whose cells each have numbers of their own: sums, and straight lines.

They are torch's kernels for batch normalisation, which read their inputs once, in any memory format; its reductions and
sums of products take several passes and many times as long. The kernels' arguments must have one memory format.
"""

import torch
from torch import Tensor


def wide(values: Tensor, like: Tensor) -> Tensor:
    """Values [cells] as [1, cells, 1, ...], to be broadcast over `like`."""
    return values.reshape(1, -1, *(1 for _ in like.shape[2:]))


def entries(x: Tensor) -> int:
    """How many entries a cell has."""
    return x.numel() // x.shape[1]


def sums(z: Tensor, x: Tensor, mean: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Of z (x - mean) rate, and of z: over the entries of each cell, [cells]."""
    if torch.is_grad_enabled():  # the kernel would be differentiated as if mean and rate were those of x
        over = [0, *range(2, x.ndim)]
        return (z * (x - wide(mean, x)) * wide(rate, x)).sum(over), z.sum(over)
    mask = (False, True, True)  # on a GPU the first sum is given the type of the scale
    _, products, plain = torch.ops.aten.native_batch_norm_backward(z, x, rate, None, None, mean, rate, True, 0.0, mask)
    return products, plain


def line(x: Tensor, mean: Tensor, rate: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Scale times (x - mean) rate, plus shift, all of them [cells]; of the shape and memory format of x."""
    if torch.is_grad_enabled():  # the kernel has no derivative in mean and rate
        return (x - wide(mean, x)) * wide(rate * scale, x) + wide(shift, x)
    return torch.batch_norm(x, scale, shift, mean, rate.pow(-2), False, 0.0, 0.0, False)


def aligned(x: Tensor, like: Tensor) -> Tensor:
    """With channels last where `like` has them last, else contiguous."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(like.ndim, torch.contiguous_format)
    first = like.is_contiguous() or not like.is_contiguous(memory_format=last)
    return x.contiguous(memory_format=torch.contiguous_format if first else last)
