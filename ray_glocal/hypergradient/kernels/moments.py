"""Variances and means of channels, as running statistics take them up."""

from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied
from ray_glocal.hypergradient.kernels.cells import aligned, entries, line, sums


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Variance, corrected, and mean of each channel of [batch, channel, ...]: [channel]; differentiable.

    As `torch.var_mean`, whose passes over several dimensions take as long as a convolution on a CPU.
    """
    variance, mean = applied(Moments, aligned(x, x))
    return variance, mean


class Moments(torch.autograd.Function):
    """Variances and means of channels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        """One pass after the other: the second centres by what the first finds."""
        zero, one = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        mean = sums(x, x, zero, one)[1] / entries(x)
        variance = sums(x, x, mean, one)[0] / (entries(x) - 1)
        ctx.save_for_backward(x, mean)
        return variance, mean

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        """From cotangents v and m of n entries: 2 v (x - mean) / (n - 1) + m / n."""
        (x, mean), (v, m) = ctx.saved_tensors, cotangents
        return line(x, mean, torch.ones_like(mean), v * (2 / (entries(x) - 1)), m / entries(x))
