"""Weight normalisation (Salimans & Kingma 2016): torch's own second derivative takes the norms for constants."""

from functools import partial

import torch
from torch import Tensor

from ray_glocal.hypergradient.kernels.formula import by_formula


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Rows of v along `dim`, each as long as its entry of g says; all of v is one where `dim` is -1."""
    return by_formula(partial(torch._weight_norm, dim=dim), partial(_weight_norm, dim=dim), v, g)


def _weight_norm(v: Tensor, g: Tensor, dim: int) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))
