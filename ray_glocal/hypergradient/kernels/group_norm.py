"""Normalisation of groups of channels of each example."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied
from ray_glocal.hypergradient.kernels.autocast import promoted
from ray_glocal.hypergradient.kernels.cells import aligned
from ray_glocal.hypergradient.kernels.normalisation import Grouping, Mask, Normalisation, OfCells, Pass


@dataclass(frozen=True)
class GroupNorm(OfCells):
    """Torch's kernel for inputs [batch, channel, ...], which has its channels last on a CPU alone."""

    groups: int
    eps: float
    grouping: Grouping

    def forward(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
        """What `torch.group_norm` returns the first part of."""
        x = _placed(x, x)
        return *torch.native_group_norm(x, gamma, beta, *_sizes(x), self.groups, self.eps), None

    def backward(self, given: Pass, rest: Any, needed: Mask) -> Sequence[Tensor | None]:
        """The pass of the plain step; where it is differentiated, torch takes another."""
        g, x, gamma, _, mean, rate = given
        g, x = _placed(g, x), _placed(x, x)
        found: Sequence[Tensor | None] = torch.ops.aten.native_group_norm_backward(
            g, x, mean, rate, gamma, *_sizes(x), self.groups, needed
        )
        return found


def _placed(x: Tensor, like: Tensor) -> Tensor:
    return aligned(x, like) if x.device.type == "cpu" else x.contiguous()


def _sizes(x: Tensor) -> tuple[int, int, int]:
    return len(x), x.shape[1], x[0, 0].numel()


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor | None:
    """Normalise groups of consecutive channels of each example of [batch, channel, ...]."""
    if input.ndim < 2 or not input.numel() or num_groups < 1 or input.shape[1] % num_groups:
        return None  # torch's to refuse
    kernel = GroupNorm(num_groups, eps, Grouping(input.shape[1] // num_groups, each=True))
    result: Tensor = applied(Normalisation, *promoted([input, weight, bias]), kernel)
    return result
