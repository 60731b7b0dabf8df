"""Activation functions: f(x) for each entry, pulled back as g f'(x), and once more by f''(x)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied
from ray_glocal.hypergradient.kernels.backward import Backward, unseen
from ray_glocal.hypergradient.kernels.blocks import blockwise, precise
from ray_glocal.hypergradient.kernels.tuning import SMALL_GELU

LOG_TWICE_DENSITY = math.log(2 / math.sqrt(2 * math.pi))
TANH, CUBE = math.sqrt(2 / math.pi), 0.044715


@dataclass(frozen=True)
class Activation:
    """A function of each entry.

    Args:
        forward: f(x).
        backward: g f'(x) of g and x, fused and itself differentiable.
        curvature: f''(x).
        factored: Whether `backward` computes f'(x) first, whatever g is, so that g times f'(x) has its bits.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]
    factored: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), of the shape of x."""
        result: Tensor = applied(Pointwise, x, self)
        return result

    def slope(self, x: Tensor) -> Tensor | None:
        """f'(x), where it stands for the fused kernel: that rounds only once where it computes in more than it stores.

        A window needs it three times: for the gradient, its derivative, and on the way back through f.
        """
        single = self.factored and x.dtype in (torch.float32, torch.float64)
        return self.backward(torch.ones_like(x), x) if single else None


class Pointwise(torch.autograd.Function):
    """f(x) of an activation function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Activation) -> Tensor:
        """The fused kernel."""
        ctx.save_for_backward(x)
        ctx.activation, ctx.slope = activation, None
        ctx.set_materialize_grads(False)
        return activation.forward(x)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """The fused kernel, as a function of its own."""
        (g,), (x,) = cotangents, saved
        if g is None:
            return None, None
        if torch.is_grad_enabled() and ctx.slope is None:  # this gradient will be differentiated
            with torch.no_grad():
                ctx.slope = ctx.activation.slope(x)
        return applied(PointwiseBackward, g, x, ctx.slope, ctx.activation), None


class PointwiseBackward(Backward):
    """g f'(x)."""

    @staticmethod
    def forward(g: Tensor, x: Tensor, slope: Tensor | None, activation: Activation) -> Tensor:
        """The fused kernel, or what equals it."""
        return activation.backward(g, x) if slope is None else g * slope

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs[:3])
        ctx.activation = inputs[3]
        ctx.set_materialize_grads(False)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """From a cotangent v: v f'(x) in g, and v g f''(x) in x."""
        (v,), (g, x, slope) = cotangents, saved
        if v is None:
            return (None,) * 4
        activation, (first, second, *_) = ctx.activation, ctx.needs_input_grad

        def formula(v: Tensor, g: Tensor, x: Tensor) -> list[Tensor]:
            return [(activation.curvature(precise(x)).mul_(precise(g)) * precise(v)).to(x.dtype)]

        known = slope is not None and not torch.is_grad_enabled()  # as a number, without a derivative of its own
        in_g = (v * slope if known else activation.backward(v, x)) if first else None
        in_x = blockwise(formula, [t.reshape(-1) for t in (v, g, x)], 1)[0].reshape(x.shape) if second else None
        return in_g, in_x, None, None


def _gelu(x: Tensor) -> Tensor:
    square = x * x
    twice = torch.rsub(square, LOG_TWICE_DENSITY, alpha=0.5).exp_()  # the normal density, twice
    return torch.addcmul(twice, twice, square, value=-0.5)


def _gelu_tanh(x: Tensor) -> Tensor:
    square = x * x
    bent = torch.tanh(TANH * x * (1 + CUBE * square))
    slope = TANH * (1 + 3 * CUBE * square)
    return (1 - bent * bent) * (slope + 6 * TANH * CUBE * square / 2 - x * bent * slope * slope)


def _silu(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 - gate) * (2 + x * (1 - 2 * gate))


def _silu_backward(g: Tensor, x: Tensor) -> Tensor:
    if torch.is_grad_enabled():  # the fused kernel cannot be differentiated
        gate = torch.sigmoid(x)
        return g * gate * (1 + x * (1 - gate))
    result: Tensor = torch.ops.aten.silu_backward(g, x)
    return result


_ops = torch.ops.aten
GELU = Activation(torch.nn.functional.gelu, _ops.gelu_backward, _gelu, factored=True)
GELU_TANH = Activation(
    lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    lambda g, x: _ops.gelu_backward(g, x, approximate="tanh"),
    _gelu_tanh,
    factored=True,
)
SILU = Activation(torch.nn.functional.silu, _silu_backward, _silu)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor | None:
    """GELU of each entry, exact or (`approximate` is "tanh") by the hyperbolic tangent (Hendrycks & Gimpel 2016)."""
    if approximate not in ("none", "tanh") or input.numel() < SMALL_GELU:
        return None
    return (GELU if approximate == "none" else GELU_TANH)(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor | None:
    """SiLU of each entry; small ones, too, for torch's gradient of it has other bits where it is differentiated."""
    return None if inplace else SILU(input)
