"""Functions that stay torch's own, bit for bit, and whose second derivative is that of a formula of plain operations.

Torch computes the value and the gradient. Only what that gradient is pulled back to comes from the formula, which
autograd differentiates twice.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.kernels.autocast import active
from ray_glocal.hypergradient.kernels.backward import Backward, applied, unseen
from ray_glocal.hypergradient.kernels.blocks import precise

Function = Callable[..., Tensor]


def by_formula(function: Function, formula: Function, *inputs: Tensor) -> Tensor:
    """Value of a function of torch's, with the second derivative of a formula that equals it.

    Args:
        function: Of the inputs; the same at every call, without random draws.
        formula: The same function of plain operations, as smooth where torch's gradient is.
        inputs: What it is differentiated in, where they require a gradient.
    """
    result: Tensor = applied(Value, _as_now(inputs[0].device, function), formula, *inputs)
    return result


def _as_now(device: torch.device, function: Function) -> Function:
    """A function that runs under the autocast of now when it is called later, too."""
    if not active(device):
        return function
    kind, dtype = device.type, torch.get_autocast_dtype(device.type)

    def call(*inputs: Tensor) -> Tensor:
        with torch.autocast(kind, dtype, cache_enabled=False):
            return function(*inputs)

    return call


class Value(torch.autograd.Function):
    """A function's value."""

    @staticmethod
    def forward(ctx: Any, function: Function, formula: Function, *inputs: Tensor) -> Tensor:
        """Torch's."""
        ctx.save_for_backward(*inputs)
        ctx.function, ctx.formula = function, formula
        ctx.set_materialize_grads(False)
        return function(*inputs)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """Torch's, as a function of its own."""
        (g,), wanted = cotangents, ctx.needs_input_grad[2:]
        if g is None:
            return (None,) * (2 + len(saved))
        return None, None, *applied(Gradient, ctx.function, ctx.formula, wanted, g, *saved)


class Gradient(Backward):
    """A function's gradient."""

    @staticmethod
    def forward(
        function: Function, formula: Function, wanted: Sequence[bool], g: Tensor, *inputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Torch's, of the function run once more."""
        with torch.enable_grad(), torch._C.DisableTorchFunction():
            leaves = [x.detach().requires_grad_(wants) for x, wants in zip(inputs, wanted, strict=True)]
            return gradient([function(*leaves)], leaves, [g])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the inputs."""
        _, ctx.formula, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """The formula's, differentiable where that is asked for."""
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            g, *inputs = [_branch(precise(x), again) for x in saved]
            held = [x if wants else x.detach() for x, wants in zip(inputs, ctx.wanted, strict=True)]
            found = gradient([ctx.formula(*held)], held, [g], create_graph=True)
            pairs = [(f, c) for f, c in zip(found, cotangents, strict=True) if f is not None and c is not None]
            live = [(f, c.to(f.dtype)) for f, c in pairs if f.requires_grad]
            second = gradient([f for f, _ in live], [g, *held], [c for _, c in live], create_graph=again)
        return None, None, None, *(None if s is None else s.to(x.dtype) for s, x in zip(second, saved, strict=True))


def gradient(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor], *, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """In those inputs that require one; None for the others, and for those on which nothing depends."""
    wanted = [x for x in inputs if x.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if wanted and outputs:
        found = torch.autograd.grad(outputs, wanted, cotangents, create_graph=create_graph, allow_unused=True)
    rest = iter(found)
    return tuple(next(rest) if x.requires_grad else None for x in inputs)


def _branch(x: Tensor, again: bool) -> Tensor:
    """A tensor to differentiate in, joined to the graph of x where derivatives are differentiated once more."""
    return x.view_as(x).requires_grad_() if again else x.detach().requires_grad_()
