"""The inner and outer problem of a window: a network, an optimizer, and one to a great many hyperparameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ray_glocal.hypergradient import Hyperparameter, Problem
from windows.large import LARGE, cast
from windows.networks import NETWORKS

EVERY = {**NETWORKS, **LARGE}
DISTINCT = 20  # batches; longer windows see them again
SEED = 100
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.02, momentum=0.9, weight_decay=1e-3),
    "adamw": partial(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-2),
}


# ---- losses ----


def loss(model: Callable[[Tensor], Tensor], batch: Sequence[Tensor]) -> Tensor:
    """Mean cross entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def weighted(model: Callable[[Tensor], Tensor], batch: Sequence[Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy with a weight for each example."""
    each = F.cross_entropy(model(batch[0]), batch[1], reduction="none").view(len(batch[2]), -1).mean(1)
    return (hyper["weights"][batch[2]] * each).mean()


def penalized(model: nn.Module, batch: Sequence[Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy and half the squares of all parameters, each with a strength of its own."""
    parameters = list(model.parameters())
    strengths = hyper["strengths"].split([p.numel() for p in parameters])
    squares = [(s.view_as(p) * p * p).sum() for s, p in zip(strengths, parameters, strict=True)]
    return loss(model, batch) + torch.stack(squares).sum() / 2


# ---- hyperparameters ----


def options(optimizer: torch.optim.Optimizer, count: int) -> list[Hyperparameter]:
    """Learning rate, momentum (of AdamW the first beta) and weight decay: the first few of them."""
    group = optimizer.param_groups[0]
    momentum = group["momentum"] if "momentum" in group else group["betas"][0]
    told = [
        Hyperparameter("lr", group["lr"], 1e-5, 1.0, "log"),
        Hyperparameter("momentum", momentum, 0.0, 0.99, "logit"),
        Hyperparameter("weight_decay", group["weight_decay"], 1e-6, 1e-1, "log"),
    ]
    return told[:count]


@dataclass(frozen=True)
class Inner:
    """A problem, the batches of its window and those of its outer loss."""

    problem: Problem
    batches: Sequence[Any]
    val: Sequence[Any]
    train_loss: Callable[..., Tensor]

    def plain(self, count: int) -> None:
        """Steps as a loop without hypergradients takes them, hyperparameters of the loss held constant."""
        problem, constant = self.problem, self.problem.leaves(self.problem.start_values(), differentiable=False)
        arguments = (constant,) if constant else ()
        for step in range(count):
            problem.optimizer.zero_grad()
            self.train_loss(problem.model, self.batches[step % len(self.batches)], *arguments).backward()
            problem.optimizer.step()

    @property
    def parameters(self) -> int:
        """Their number."""
        return sum(p.numel() for p in self.problem.parameters)


def inner(
    network: str,
    scale: float,
    optimizer: str,
    hyper: str,
    length: int,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    precision: str = "float32",
) -> Inner:
    """A fresh network and its window.

    Args:
        network: One of `NETWORKS` or, without weights or strengths, of `LARGE`.
        scale: Of its width.
        optimizer: One of `OPTIMIZERS`.
        hyper: "options 1" or "options 3" of the optimizer; "weights q" of examples; "strengths" of the penalty on each
            parameter.
        length: Steps of the window.
        device: Of everything.
        dtype: Of parameters and inputs.
        precision: `bf16` for losses under autocast.
    """
    generator = torch.Generator().manual_seed(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = EVERY[network].make(scale).to(device, dtype)
    stepper = OPTIMIZERS[optimizer](model.parameters())
    kind, _, count = hyper.partition(" ")
    size = int(count) if count else sum(p.numel() for p in model.parameters())
    train_loss: Callable[..., Tensor] = {"options": loss, "weights": weighted, "strengths": penalized}[kind]
    told = {
        "options": lambda: options(stepper, size),
        "weights": lambda: [Hyperparameter("weights", torch.ones(size), 1e-3, 10.0, "log")],
        "strengths": lambda: [Hyperparameter("strengths", torch.full((size,), 1e-4), 1e-8, 1.0, "log")],
    }[kind]()

    def batch() -> tuple[Tensor, ...]:
        inputs, targets = EVERY[network].draw(EVERY[network].batch, generator)
        inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        numbers = torch.randint(size, (EVERY[network].batch,), generator=generator)
        return tuple(tensor.to(device) for tensor in (inputs, targets, numbers))

    drawn = [batch() for _ in range(min(length, DISTINCT))]
    batches = [drawn[step % len(drawn)] for step in range(length)]
    validate = loss
    if precision == "bf16":
        train_loss, validate = cast(train_loss, device), cast(validate, device)
    return Inner(Problem(model, stepper, train_loss, validate, told), batches, [batch()], train_loss)
