"""Arguments of calls, in double precision, and calls of one shape: away from kinks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

Call = tuple[Callable[..., Tensor], tuple[Tensor, ...]]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def positive(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64) + 0.5


def within(*shape: int) -> Tensor:
    """Between zero and one, with a distance."""
    return torch.rand(shape, dtype=torch.float64) * 0.8 + 0.1


def above_one(*shape: int) -> Tensor:
    return positive(*shape) + 1


def definite(a: Tensor) -> Tensor:
    return a @ a.mT + torch.eye(a.shape[-1], dtype=a.dtype)


def symmetric(a: Tensor) -> Tensor:
    return a + a.mT


def distribution(rows: int = 4, columns: int = 3) -> Tensor:
    return torch.softmax(normal(rows, columns), -1)


def elementwise(names: str, of: Callable[..., Tensor], module=torch) -> dict[str, Call]:
    return {name: (getattr(module, name), (of(3, 4),)) for name in names.split()}


def module(made: nn.Module, *inputs: Tensor, read=lambda out: out) -> Call:
    """A module's output as a function of its inputs and parameters."""
    made = made.double().eval()  # buffers that training moves would make two calls of one differ
    names = [name for name, _ in made.named_parameters()]

    def call(*tensors: Tensor) -> Tensor:
        given, parameters = tensors[: len(inputs)], tensors[len(inputs) :]
        return read(functional_call(made, dict(zip(names, parameters, strict=True)), given))

    return call, (*inputs, *(p.detach().clone() for p in made.parameters()))
