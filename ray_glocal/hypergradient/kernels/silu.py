"""SiLU: f(x) for each entry, pulled back as g f'(x), and once more by f''(x)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied
from ray_glocal.hypergradient.kernels.backward import Backward, unseen
from ray_glocal.hypergradient.kernels.blocks import blockwise, precise


def silu(input: Tensor, inplace: bool = False) -> Tensor | None:
    """SiLU of each entry; small ones, too, for torch's gradient of it has other bits where it is differentiated."""
    if inplace:
        return None
    result: Tensor = applied(SiLU, input)
    return result


class SiLU(torch.autograd.Function):
    """x times the logistic function of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The fused kernel."""
        ctx.save_for_backward(x)
        ctx.set_materialize_grads(False)
        return torch.nn.functional.silu(x)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """The fused kernel, as a function of its own."""
        (g,), (x,) = cotangents, saved
        return None if g is None else applied(SiLUBackward, g, x)


class SiLUBackward(Backward):
    """g f'(x)."""

    @staticmethod
    def forward(g: Tensor, x: Tensor) -> Tensor:
        """The fused kernel."""
        return _pull_back(g, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)
        ctx.set_materialize_grads(False)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """From a cotangent v: v f'(x) in g, and v g f''(x) in x."""
        (v,), (g, x) = cotangents, saved
        if v is None:
            return None, None
        first, second = ctx.needs_input_grad
        in_g = _pull_back(v, x) if first else None
        in_x = blockwise(_in_x, [t.reshape(-1) for t in (v, g, x)], 1)[0].reshape(x.shape) if second else None
        return in_g, in_x


def _pull_back(g: Tensor, x: Tensor) -> Tensor:
    if torch.is_grad_enabled():  # the fused kernel cannot be differentiated
        gate = torch.sigmoid(x)
        return g * gate * (1 + x * (1 - gate))
    result: Tensor = torch.ops.aten.silu_backward(g, x)
    return result


def _in_x(v: Tensor, g: Tensor, x: Tensor) -> list[Tensor]:
    return [(_curvature(precise(x)).mul_(precise(g)) * precise(v)).to(x.dtype)]


def _curvature(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 - gate) * (2 + x * (1 - 2 * gate))
