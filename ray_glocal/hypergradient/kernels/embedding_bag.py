"""Sums and means of bags of rows, which torch differentiates only once."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ray_glocal.hypergradient.kernels.formula import by_formula


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor | None:
    """Sum or mean of the rows of `weight` that each bag names; not their maximum, whose rows torch tells nobody."""
    if max_norm is not None or scale_grad_by_freq or sparse or mode == "max":
        return None

    def read(*rest: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Offsets and shares, either of which may not be there."""
        left = iter(rest)
        return None if offsets is None else next(left), None if per_sample_weights is None else next(left)

    def function(weight: Tensor, input: Tensor, *rest: Tensor) -> Tensor:
        starts, shares = read(*rest)
        return F.embedding_bag(
            input,
            weight,
            starts,
            mode=mode,
            per_sample_weights=shares,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
        )

    def formula(weight: Tensor, input: Tensor, *rest: Tensor) -> Tensor:
        starts, shares = read(*rest)
        names, (bags, count) = input.flatten(), _bags(input, starts, include_last_offset)
        kept = torch.ones_like(bags, dtype=weight.dtype) if padding_idx is None else (names != padding_idx).to(weight)
        rows = weight[names] * (kept if shares is None else kept * shares.flatten()).unsqueeze(1)
        total = weight.new_zeros(count, weight.shape[1]).index_add(0, bags, rows)
        if mode == "sum":
            return total
        return total / weight.new_zeros(count).index_add(0, bags, kept).clamp_min(1).unsqueeze(1)

    rest = [t for t in (offsets, per_sample_weights) if t is not None]
    return by_formula(function, formula, weight, input, *rest)


def _bags(input: Tensor, offsets: Tensor | None, last: bool) -> tuple[Tensor, int]:
    """The bag of each name, and how many bags there are."""
    if offsets is None:
        each = torch.arange(len(input), device=input.device)
        return each.repeat_interleave(input.shape[1]), len(input)
    count = len(offsets) - last
    places = torch.arange(len(input), device=input.device, dtype=offsets.dtype)
    return torch.bucketize(places, offsets[1:count].contiguous(), right=True), count
