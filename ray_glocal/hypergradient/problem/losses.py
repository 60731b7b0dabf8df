"""The user's losses: what kind of function they are, and whether one of them differentiates inside."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ray_glocal.errors import ArgumentError

Loss = Callable[..., Tensor]

_DERIVATIVES = frozenset({torch.autograd.grad, torch.autograd.backward, Tensor.backward})


def check_loss(name: str, loss: Any) -> None:
    """Check that a loss can be called and returns when it is.

    Raises:
        ArgumentError: It is no function, or a generator or coroutine function.
    """
    rule = "be a function `(model, batch[, hyper])` that returns a scalar tensor"
    if not callable(loss):
        remedy = "Pass the function itself, not what it returned."
        raise ArgumentError(name, rule, loss, remedy)
    body = loss if inspect.isroutine(loss) or isinstance(loss, partial) else type(loss).__call__
    for kind, is_one in (
        ("generator", inspect.isgeneratorfunction),
        ("coroutine", inspect.iscoroutinefunction),
        ("generator", inspect.isasyncgenfunction),
    ):
        if is_one(body):
            raise ArgumentError(name, rule, f"a {kind} function", "Return the loss, and neither `yield` nor `await`.")


def takes_hyper(loss: Loss) -> bool:
    """Whether a loss takes a third positional argument."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(loss).parameters.values()
    return sum(p.kind in kinds for p in parameters) >= 3


def check_graph(name: str, loss: Tensor) -> None:
    """Complain about a loss that does not depend on the parameters.

    Raises:
        ArgumentError: `loss` has no graph.
    """
    if not loss.requires_grad:
        remedy = "Compute it with gradients: without `no_grad`, `detach`, `item` or a non-differentiable metric."
        raise ArgumentError(name, "depend differentiably on the parameters that the optimizer trains", loss, remedy)


class Differentiations(TorchFunctionMode):
    """Sees whether derivatives are taken, and keeps the graph of each gradient, through which others may be taken."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call `func`; of a gradient whose graph would be dropped, keep it."""
        given = dict(kwargs or {})
        if func in _DERIVATIVES:
            self.seen = True
            if func is torch.autograd.grad and torch.is_grad_enabled():
                given["create_graph"] = True
        return func(*args, **given)


@contextmanager
def own_gradients(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Put `grad` of the parameters back at the end, whatever a backward pass between has added to it."""
    held = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, held, strict=True):
            parameter.grad = gradient
