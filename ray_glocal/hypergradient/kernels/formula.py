"""Functions that stay torch's own, bit for bit, and whose second derivative is that of a formula of plain operations.

Torch computes the value and the gradient. Only what that gradient is pulled back to comes from the formula, which
autograd differentiates twice, or which says it itself.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import applied, unwatched
from ray_glocal.hypergradient.kernels.autocast import active
from ray_glocal.hypergradient.kernels.backward import Backward, unseen
from ray_glocal.hypergradient.kernels.blocks import precise

Function = Callable[..., Tensor]
Cotangents = Sequence[Tensor | None]
# Of [g, *inputs], by those and the cotangents of the gradient in each input.
PullBack = Callable[[Sequence[Tensor], Cotangents], Cotangents]


def by_formula(function: Function, formula: Function, *inputs: Tensor) -> Tensor:
    """Value of a function of torch's, with the second derivative of a formula that equals it.

    Args:
        function: Of the inputs; the same at every call, without random draws.
        formula: The same function of plain operations, as smooth where torch's gradient is.
        inputs: What it is differentiated in, where they require a gradient, and all tensors else that it reads: those
            that a function holds by itself could be written to unnoticed before it runs again.
    """
    return by_pull_back(function, partial(_derived, formula, [x.requires_grad for x in inputs]), *inputs)


def by_pull_back(function: Function, pull_back: PullBack, *inputs: Tensor) -> Tensor:
    """The same with what the gradient is pulled back to, in plain operations, where autograd would take longer."""
    result: Tensor = applied(Value, _as_now(inputs[0].device, function), pull_back, *inputs)
    return result


def _derived(formula: Function, wanted: Sequence[bool], saved: Sequence[Tensor], cotangents: Cotangents) -> Cotangents:
    """What a formula's gradient is pulled back to, differentiable where that is asked for."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        g, *inputs = [_branch(x, again) for x in saved]
        held = [x if wants else x.detach() for x, wants in zip(inputs, wanted, strict=True)]
        found = gradient([formula(*held)], held, [g], create_graph=True)
        pairs = [(f, c) for f, c in zip(found, cotangents, strict=True) if f is not None and c is not None]
        live = [(f, c.to(f.dtype)) for f, c in pairs if f.requires_grad]
        return gradient([f for f, _ in live], [g, *held], [c for _, c in live], create_graph=again)


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
    def forward(ctx: Any, function: Function, pull_back: PullBack, *inputs: Tensor) -> Tensor:
        """Torch's."""
        ctx.save_for_backward(*inputs)
        ctx.function, ctx.pull_back = function, pull_back
        ctx.set_materialize_grads(False)
        return function(*inputs)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """Torch's, as a function of its own."""
        (g,), wanted = cotangents, ctx.needs_input_grad[2:]
        if g is None:
            return (None,) * (2 + len(saved))
        return None, None, *applied(Gradient, ctx.function, ctx.pull_back, wanted, g, *saved)


class Gradient(Backward):
    """A function's gradient."""

    @staticmethod
    def forward(
        function: Function, pull_back: PullBack, wanted: Sequence[bool], g: Tensor, *inputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Torch's, of the function run once more."""
        with torch.enable_grad(), unwatched():
            leaves = [x.detach().requires_grad_(wants) for x, wants in zip(inputs, wanted, strict=True)]
            return gradient([function(*leaves)], leaves, [g])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the inputs."""
        _, ctx.pull_back, _, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    @unseen
    def backward(ctx: Any, saved: Sequence[Tensor], *cotangents: Tensor | None) -> Any:
        """The formula's."""
        found = ctx.pull_back([precise(x) for x in saved], cotangents)
        return None, None, None, *(None if f is None else f.to(x.dtype) for f, x in zip(found, saved, strict=True))


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
    if not x.is_floating_point():
        return x
    return x.view_as(x).requires_grad_() if again else x.detach().requires_grad_()
