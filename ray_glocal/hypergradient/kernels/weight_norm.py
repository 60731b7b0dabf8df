"""Weight normalisation (Salimans & Kingma 2016): torch's own second derivative takes the norms for constants.

With r one over the norm of a row, u = v r and the projection P(z) = z - u <u, z>, a cotangent c of the weight g u is
pulled back to g r P(c) in v, and to <c, u> in g.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ray_glocal.hypergradient._compat import weight_norm as plain_weight_norm
from ray_glocal.hypergradient.kernels.formula import Cotangents, by_pull_back


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor | None:
    """Rows of v along its first or last dimension, each as long as its entry of g says; others are right by torch."""
    if dim not in (0, v.ndim - 1):
        return None
    return by_pull_back(partial(plain_weight_norm, dim=dim), partial(_pulled_back, dim), v, g)


def _pulled_back(dim: int, saved: Sequence[Tensor], cotangents: Cotangents) -> Cotangents:
    """From cotangents a of g r P(c), and b of <c, u>."""
    (c, v, g), (a, b) = saved, cotangents
    over = [d for d in range(v.ndim) if d != dim]

    def inner(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(over, keepdim=True) if over else x * y

    rate = inner(v, v).rsqrt()
    u, slope = v * rate, g * rate
    along_c = inner(c, u)
    across_c = c - u * along_c
    in_c = in_v = in_g = None
    if a is not None:
        along_a = inner(a, u)
        across_a = a - u * along_a
        across = inner(across_a, c)
        in_c, in_g = slope * across_a, across * rate
        in_v = -slope * rate * (u * across + across_a * along_c + across_c * along_a)
    if b is not None:
        more_c, more_v = u * b, across_c * (rate * b)
        in_c, in_v = more_c if in_c is None else in_c + more_c, more_v if in_v is None else in_v + more_v
    return in_c, in_v, in_g
