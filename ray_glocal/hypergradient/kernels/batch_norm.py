"""Normalisation of channels over all examples, and over each by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ray_glocal.hypergradient._compat import CUDNN, applied, batch_norm_backward_by_choice, batch_norm_by_choice
from ray_glocal.hypergradient.kernels.cells import aligned
from ray_glocal.hypergradient.kernels.normalisation import Grouping, Mask, Normalisation, OfCells, Pass
from ray_glocal.hypergradient.kernels.tuning import SMALL_BATCH_NORM


@dataclass(frozen=True)
class BatchNorm(OfCells):
    """Torch's choice of kernels; running statistics are updated."""

    running_mean: Tensor | None
    running_var: Tensor | None
    momentum: float
    eps: float
    cudnn: bool
    grouping = Grouping()

    def forward(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
        """What `torch.batch_norm` returns the first part of."""
        options = True, self.momentum, self.eps, self.cudnn
        out, mean, rate, reserve, choice = batch_norm_by_choice(
            x, gamma, beta, self.running_mean, self.running_var, *options
        )
        return out, mean, rate, (reserve, choice)

    def backward(self, given: Pass, rest: Any, needed: Mask) -> Sequence[Tensor | None]:
        """The pass that belongs to the choice."""
        g, x, gamma, _, mean, rate = given
        reserve, choice = rest
        if choice == CUDNN:  # which takes no other strides, and may write into the reserve
            g, x, reserve = aligned(g, x), aligned(x, x), reserve.clone()
        statistics = self.running_mean, self.running_var, mean, rate
        found: Sequence[Tensor | None] = batch_norm_backward_by_choice(
            choice, x, g, gamma, *statistics, True, self.eps, needed, reserve
        )
        return found


def batch_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor | None:
    """Normalise channels [batch, channel, ...] over all other dimensions, in training; update running statistics."""
    known = weight is not None or bias is None  # to torch's second derivative, which fails for a shift alone
    if not training or not input.numel() or (known and input.numel() < SMALL_BATCH_NORM):
        return None
    kernel = BatchNorm(running_mean, running_var, momentum, eps, cudnn_enabled)
    result: Tensor = applied(Normalisation, input, weight, bias, kernel)
    return result


def instance_norm(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor | None:
    """Normalise each channel of each example, as torch does it: channels of all examples are those of a single one."""
    if not use_input_stats or running_mean is not None or running_var is not None or input.ndim < 3:
        return None
    batch, channels = input.shape[:2]
    joined = input.contiguous().view(1, batch * channels, *input.shape[2:])
    gamma, beta = (None if t is None else t.repeat(batch) for t in (weight, bias))
    out = batch_norm(joined, gamma, beta, None, None, True, momentum, eps, cudnn_enabled)
    return None if out is None else out.view(input.shape)
