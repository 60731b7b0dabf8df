"""Distances between rows, all pairs at once."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ray_glocal.hypergradient.kernels.formula import by_formula

FEW = 25  # rows up to which torch takes differences


def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor | None:
    """p-norm distances [..., n, m] of rows [..., n, d] and [..., m, d]; of norms only 1 and 2."""
    if p not in (1, 2) or (p == 2 and _by_products(x1.shape[-2], x2.shape[-2], compute_mode)):
        return None
    function = partial(torch.cdist, p=p, compute_mode=compute_mode)
    return by_formula(function, partial(_cdist, p=p), x1, x2)


def pdist(input: Tensor, p: float = 2.0) -> Tensor | None:
    """p-norm distances of all pairs of rows [n, d], those above the diagonal; of norms only 1 and 2."""
    return by_formula(partial(F.pdist, p=p), partial(_pdist, p=p), input) if p in (1, 2) else None


def _by_products(n: int, m: int, mode: str) -> bool:
    """Whether torch multiplies matrices, and so has every derivative already."""
    asked = mode == "use_mm_for_euclid_dist_if_necessary" and max(n, m) > FEW
    return asked or mode == "use_mm_for_euclid_dist"


def _cdist(x1: Tensor, x2: Tensor, p: float) -> Tensor:
    apart = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    if p == 1:
        return apart.abs().sum(-1)
    square = apart.square().sum(-1)
    return torch.where(square > 0, square, 1).sqrt() * (square > 0)  # torch's gradient is zero where rows meet


def _pdist(x: Tensor, p: float) -> Tensor:
    first, second = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return _cdist(x[first].unsqueeze(-2), x[second].unsqueeze(-2), p).flatten()
