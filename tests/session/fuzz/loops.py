"""A training loop as a user has it: model, optimizer, losses, batches, and what is done after each step."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_glocal import Hyperparameter

from ..cases import entropy

Values = Mapping[str, float]


@dataclass
class Loop:
    """One training run, built anew for each time it is run.

    Args:
        model: The model.
        optimizer: The optimizer that a session is given.
        train_loss: `(model, batch[, hyper]) -> scalar`.
        val_loss: The same for validation.
        batch: The batch of a step, by its number.
        val_batches: What the validation loss is averaged over.
        after: Called after every step.
        held: Tensors outside the model that training must leave as the plain loop does.
        reads: Whether the losses read hyperparameters, as a third argument.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    train_loss: Callable[..., Tensor]
    val_loss: Callable[..., Tensor]
    batch: Callable[[int], Any]
    val_batches: Sequence[Any]
    after: list[Callable[[], Any]] = field(default_factory=list)
    held: list[Tensor] = field(default_factory=list)
    reads: bool = False


@dataclass(frozen=True)
class Trial:
    """A loop with hyperparameters, and how a session is to accompany it.

    Args:
        name: What it is, in words.
        build: Builds the loop; of losses that read no hyperparameter two-argument ones.
        hyper: What is adapted.
        seed: Of all global generators, ahead of `build`.
        steps: Steps of the loop: a window has eight.
        settings: Settings of the session, beyond those that hold it still.
        exact: Whether derivatives are judged; in single precision differences are too coarse.
        tolerance: Relative error that a derivative may have.
        floor: Error that it may have beside that, as a share of the loss: what differences resolve.
    """

    name: str
    build: Callable[[], Loop]
    hyper: tuple[Hyperparameter, ...]
    seed: int = 0
    steps: int = 8
    settings: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True
    tolerance: float = 0.01
    floor: float = 1e-7


def seed_all(seed: int) -> None:
    """Seed every global generator."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - user code draws from the global generator
    random.seed(seed)


def rate(lr: float, *, windows: int = 1) -> Hyperparameter:
    """A learning rate whose bounds leave it nowhere to go.

    At its lower bound no trouble can cut it, so a session never goes back; but the search raises cold ones, whatever
    the gate says, so beyond one window it stands at its upper bound.
    """
    if windows == 1:
        return Hyperparameter("lr", lr, lr, 1e3 * lr, "log")
    return Hyperparameter("lr", lr, math.nextafter(lr, 0.0), lr, "log")


def unrounded(hyper: Hyperparameter) -> Hyperparameter:
    """The same with a start value near by that comes back from its line bit for bit: a cold rate moves all of them."""
    value = hyper.value
    for _ in range(100):
        back = hyper.coordinate.to_value(hyper.coordinate.to_line(value))
        if torch.equal(back, value):
            break
        value = back
    return replace(hyper, start=float(value))


def write(optimizer: torch.optim.Optimizer, values: Values) -> None:
    """Set options of an optimizer; names that are none are the losses'."""
    for group in optimizer.param_groups:
        for name, value in values.items():
            if name in ("beta1", "beta2"):
                old = group["betas"]
                group["betas"] = (value, old[1]) if name == "beta1" else (old[0], value)
            elif name in group:
                group[name] = value


def losses_of(loop: Loop, values: Values) -> tuple[Callable[[Any], Tensor], Callable[[Any], Tensor]]:
    """Training and validation loss as functions of a batch alone."""
    read = {name: value for name, value in values.items() if not _is_option(loop.optimizer, name)}
    if not read:
        return (lambda batch: loop.train_loss(loop.model, batch)), (lambda batch: loop.val_loss(loop.model, batch))
    dtype = next(loop.model.parameters()).dtype
    hyper = {name: torch.tensor(value, dtype=torch.float64).to(dtype) for name, value in read.items()}
    return (
        lambda batch: loop.train_loss(loop.model, batch, hyper),
        lambda batch: loop.val_loss(loop.model, batch, hyper),
    )


def _is_option(optimizer: torch.optim.Optimizer, name: str) -> bool:
    group = optimizer.param_groups[0]
    return name in group or ("betas" in group and name in ("beta1", "beta2"))


def plainest(train_loss: Callable[..., Tensor] | None = None) -> Loop:
    """A smooth network, its batches, and nothing else."""
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(16, 5, generator=generator, dtype=torch.double), torch.randint(0, 3, (16,), generator=generator))
        for _ in range(18)
    ]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return Loop(model, optimizer, train_loss or entropy, entropy, lambda step: batches[step], batches[16:])
