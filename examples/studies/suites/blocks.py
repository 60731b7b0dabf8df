"""What tasks are made of: networks, optimizers and schedules by name, batches."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, StepLR

from suites.task import Config, Hyper
from tasks.split import Shuffled as Shuffled  # tasks find it beside the other blocks

Batch = tuple[Tensor, ...]

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def perceptron(
    inputs: int, width: int, depth: int, outputs: int, activation: str = "relu", norm: str = "none", dropout: float = 0
) -> nn.Sequential:
    """`depth` hidden layers of `width`, each linear, normalised, activated, and dropped out in part."""
    layers: list[nn.Module] = [nn.Flatten()]
    for _ in range(depth):
        layers.append(nn.Linear(inputs, width))
        if norm != "none":
            layers.append(NORMS[norm](width))
        layers.append(ACTIVATIONS[activation]())
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def optimizer(parameters: Sequence[Tensor] | Sequence[dict], config: Config) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW whose beta1 the momentum is; groups may bring options of their own."""
    lr, momentum, decay = (config.get(name, 0.0) for name in ("lr", "momentum", "weight_decay"))
    if config["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=decay)
    betas = momentum, config.get("beta2", 0.999)
    return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=decay)


def schedule(kind: str, trained: torch.optim.Optimizer, steps: int) -> LRScheduler | None:
    """`cosine` to zero, `one-cycle` with the rate as its peak, three `steps` down to a thousandth, or `none`."""
    if kind == "none":
        return None
    if kind == "cosine":
        return CosineAnnealingLR(trained, steps)
    if kind == "steps":
        return StepLR(trained, math.ceil(steps / 4), 0.1)
    peaks = [group["lr"] for group in trained.param_groups]
    return OneCycleLR(trained, peaks, total_steps=steps + 1, cycle_momentum=False)


def batches(data: Batch, size: int) -> list[Batch]:
    """All rows in order, in batches of one size: a mean over batches is one over rows only if they are even."""
    count = len(data[0]) // size * size
    return list(zip(*(part[:count].split(size) for part in data), strict=True))


def stacked(hyper: Hyper, names: Sequence[str]) -> Tensor:
    """Hyperparameters of these names as one vector, in single precision."""
    return torch.stack([hyper[name] for name in names]).float()


def noisy(seen: Tensor, strength: Tensor | float) -> Tensor:
    """Gaussian dropout, differentiable in its strength."""
    return seen * (1 + strength * torch.randn_like(seen))


def smoothed(logits: Tensor, labels: Tensor, smoothing: Tensor | float) -> Tensor:
    """Cross entropy of each row under label smoothing, differentiable in it."""
    chances = logits.log_softmax(-1)
    told = chances.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return -(1 - smoothing) * told - smoothing * chances.mean(-1)


def reweighted(losses: Tensor, weights: Tensor, sources: Tensor) -> Tensor:
    """Mean of the losses, each times its source's weight over the mean of all sources' weights."""
    return (losses * (weights / weights.mean())[sources]).mean()


class NoisyPerceptron(nn.Module):
    """A perceptron of several widths whose hidden activations are dropped out by strengths given with the inputs."""

    def __init__(self, sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, inputs: Tensor, strengths: Sequence[Tensor] = ()) -> Tensor:
        """Logits; without strengths nothing is dropped out."""
        seen = inputs.flatten(1)
        for place, layer in enumerate(self.layers[:-1]):
            seen = self.activation(layer(seen))
            seen = noisy(seen, strengths[place]) if strengths else seen
        return self.layers[-1](seen)


class Recurrent(nn.Module):
    """A GRU of several layers over symbols, that answers at each."""

    def __init__(self, symbols: int, width: int, layers: int = 1) -> None:
        super().__init__()
        self.enter = nn.Embedding(symbols, width)
        self.cells = nn.GRU(width, width, layers, batch_first=True)
        self.leave = nn.Linear(width, symbols)

    def forward(self, symbols: Tensor) -> Tensor:
        """Logits [batch, time, symbol] of symbols [batch, time]."""
        return self.leave(self.cells(self.enter(symbols))[0])


def symbol_loss(logits: Tensor, symbols: Tensor) -> Tensor:
    """Mean cross entropy of the symbols of each sequence."""
    return nn.functional.cross_entropy(logits.transpose(1, 2), symbols, reduction="none").mean(1)
