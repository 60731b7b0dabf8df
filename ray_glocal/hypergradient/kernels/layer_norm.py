"""Layer normalisation (Ba, Kiros & Hinton 2016).

In each row of n entries, with r one over the standard deviation, y = (x - mean) r and the projection
P(z) = z - mean(z) - y mean(z y): a cotangent g of gamma y + beta is pulled back to r P(gamma g).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied
from ray_glocal.hypergradient.kernels.autocast import promoted
from ray_glocal.hypergradient.kernels.blocks import blockwise, precise
from ray_glocal.hypergradient.kernels.normalisation import Kernel, Mask, Normalisation, Pass
from ray_glocal.hypergradient.kernels.tuning import SMALL_LAYER_NORM


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor | None:
    """Normalise over the last dimensions, of shape `normalized_shape`, then scale and shift."""
    shift_alone = weight is None and bias is not None  # of which torch has no second derivative
    if input.numel() < SMALL_LAYER_NORM and input.dtype in (torch.float32, torch.float64) and not shift_alone:
        return None
    result: Tensor = applied(LayerNorm, *promoted([input, weight, bias]), OfRows(tuple(normalized_shape), eps))
    return result


class LayerNorm(Normalisation):
    """A normalisation by that name in graphs and profiles."""


@dataclass(frozen=True)
class OfRows(Kernel):
    """Torch's kernel, over the last dimensions of some shape."""

    shape: tuple[int, ...]
    eps: float

    def forward(self, x: Tensor, gamma: Tensor | None, beta: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Any]:
        """What `torch.layer_norm` returns the first part of."""
        return *torch.native_layer_norm(x, self.shape, gamma, beta, self.eps), None

    def backward(self, given: Pass, rest: Any, needed: Mask) -> Sequence[Tensor | None]:
        """The pass of the plain step."""
        g, x, gamma, beta, mean, rate = given
        found: Sequence[Tensor | None] = torch.ops.aten.native_layer_norm_backward(
            g, x, self.shape, mean, rate, gamma, beta, needed
        )
        return found

    def pulled_back(self, given: Pass, a: Tensor | None, b: Tensor | None, c: Tensor | None) -> list[Tensor | None]:
        """The formula, row by row."""
        g, x, gamma, _, mean, rate = given
        n = math.prod(self.shape)
        rows = [g.reshape(-1, n), x.reshape(-1, n)]
        rows += [torch.zeros_like(rows[1]) if a is None else a.reshape(-1, n)]
        rows += [moment.reshape(-1, 1) for moment in (mean, rate)]
        scale, in_scale, in_shift = (None if v is None else precise(v).reshape(n) for v in (gamma, b, c))

        def formula(g: Tensor, x: Tensor, a: Tensor, mean: Tensor, rstd: Tensor) -> list[Tensor]:
            g, x, a = precise(g), precise(x), precise(a)
            if torch.is_grad_enabled() or mean.dtype != x.dtype:  # those at hand have no derivative, or are too coarse
                mean = x.mean(-1, keepdim=True)
                rstd = (x.var(-1, keepdim=True, correction=0) + self.eps).rsqrt()
            return curvature(g, x, a, mean, rstd, scale, in_scale, in_shift)

        in_g, in_x, in_gamma = blockwise(formula, rows, n)
        total = None if gamma is None else in_gamma.sum(0).reshape(gamma.shape).to(gamma.dtype)
        return [in_g.reshape(g.shape).to(g.dtype), in_x.reshape(x.shape).to(x.dtype), total]


def curvature(
    g: Tensor,
    x: Tensor,
    a: Tensor,
    mean: Tensor,
    rstd: Tensor,
    gamma: Tensor | None,
    b: Tensor | None,
    c: Tensor | None,
) -> list[Tensor]:
    """Pull cotangents of the backward pass back.

    Args:
        g: Cotangent of the normalised rows, [rows, n].
        x: The rows.
        a: Cotangent of the cotangent of x, [rows, n].
        mean: Of each row, [rows, 1].
        rstd: One over the standard deviation of each row, [rows, 1].
        gamma: Scale, [n]; ones where None.
        b: Cotangent of the cotangent of gamma, [n]; zero where None.
        c: The same of the shift.

    Returns:
        Cotangents of g and x, [rows, n], and of gamma summed over the rows, [1, n].
    """
    n = x.shape[-1]
    y, moments = (x - mean) * rstd, (mean.detach(), rstd.detach())

    def project(z: Tensor) -> Tensor:
        """The cotangent z of y in x: r P(z)."""
        mask = (True, False, False)
        result: Tensor = torch.ops.aten.native_layer_norm_backward(z, x, (n,), *moments, None, None, mask)[0]
        return result

    def total(z: Tensor) -> Tensor:
        """Sum of each row, weighted by the scale."""
        return z.sum(-1, keepdim=True) if gamma is None else (z @ gamma)[:, None]

    rate = rstd / -n
    u = project(a)
    w = g * u
    in_a, in_h = (a * y).sum(-1, keepdim=True) * rate, total(g * y) * rate
    # Of what follows, each term is written into the sum of those before it.
    inner = in_a if gamma is None else in_a * gamma if b is None else torch.addcmul(b, in_a, gamma)
    in_x = project((inner * g).addcmul_(in_h, a)).addcmul_(y, total(w) * rate)
    scaled = u if gamma is None else u * gamma
    in_g = scaled if c is None else scaled + c
    if gamma is not None and b is not None:
        in_g.addcmul_(y, b)
    return [in_g, in_x, w.sum(0, keepdim=True)]
