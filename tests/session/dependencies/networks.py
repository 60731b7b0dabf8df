"""The small loops that all kinds start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..cases import entropy
from ..fuzz.loops import Loop

SGD = torch.optim.SGD
Build = Callable[[], Loop]
LR = 0.1


def mlp(*middle: nn.Module) -> nn.Sequential:
    """Five features, eight hidden, three classes."""
    return nn.Sequential(nn.Linear(5, 8), *(middle or (nn.Tanh(),)), nn.Linear(8, 3)).double()


def data() -> list[tuple[Tensor, Tensor]]:
    """Eight batches to train on and two to validate on."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 5, generator=generator, dtype=torch.double), torch.randint(0, 3, (16,), generator=generator))
        for _ in range(10)
    ]


def looped(
    model: nn.Module,
    train: Callable[..., Tensor] = entropy,
    val: Callable[..., Tensor] = entropy,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    shape: Callable[[tuple[Tensor, Tensor]], Any] = tuple,
    after: Sequence[Callable[[], Any]] = (),
) -> Loop:
    """A loop on the common batches; `shape` makes training batches of them."""
    batches = data()
    optimizer = SGD(model.parameters(), LR) if optimizer is None else optimizer
    return Loop(model, optimizer, train, val, lambda step: shape(batches[step]), batches[8:], list(after))
