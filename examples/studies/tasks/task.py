"""The tasks of the studies: a data set and a network, trained by cross entropy."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks import networks
from tasks.data import SYMBOLS, digits, fashion, letter, shakespeare
from tasks.split import Batch, Split


@dataclass(frozen=True)
class Task:
    """One training problem.

    Args:
        name: Data set and network.
        data: Reads the data set.
        network: Builds the network from torch's present random state.
        steps: Inner steps of a whole training, at batches of 32.
    """

    name: str
    data: Callable[[], Split]
    network: Callable[[], nn.Module]
    steps: int

    def model(self, seed: int) -> nn.Module:
        """A fresh network."""
        torch.manual_seed(seed)
        return self.network()


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross entropy, over the symbols of a sequence too."""
    inputs, targets = batch
    return F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())


@torch.no_grad()
def accuracy(model: nn.Module, data: Batch) -> float:
    """Share of targets that are foretold rightly."""
    inputs, targets = data
    parts = zip(inputs.split(1000), targets.split(1000), strict=True)
    hits = [(model(x).argmax(-1) == y).float().flatten() for x, y in parts]
    return float(torch.cat(hits).mean())


@torch.no_grad()
def mean_loss(model: nn.Module, data: Batch) -> float:
    """Mean cross entropy over a whole part of a data set, one thousand examples at a time."""
    parts = list(zip(data[0].split(1000), data[1].split(1000), strict=True))
    return sum(float(loss(model, part)) * len(part[1]) for part in parts) / len(data[1])


OPTIMIZERS = ("sgd", "adamw")


def optimizer(name: str, model: nn.Module, lr: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, whose beta1 the momentum is."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay)


def _tasks() -> dict[str, Task]:
    n = networks
    tasks = (
        Task("digits-linear", digits, lambda: n.linear(64, 10), 800),
        Task("digits-mlp", digits, lambda: n.perceptron(64, 64, 10), 1600),
        Task("digits-cnn", digits, lambda: n.convolutional(8, 8, 10), 1600),
        Task("digits-gru", digits, lambda: n.Recurrent(8, 32, 10, symbols=False), 1000),
        Task("digits-transformer", digits, lambda: n.Transformer(8, 32, 10, symbols=False, length=8), 1000),
        Task("letter-linear", letter, lambda: n.linear(16, 26), 1600),
        Task("letter-mlp", letter, lambda: n.perceptron(16, 64, 26), 3200),
        Task("fashion-mlp", fashion, lambda: n.perceptron(784, 128, 10), 1600),
        Task("fashion-cnn", fashion, lambda: n.convolutional(28, 8, 10), 1600),
        Task("shakespeare-gru", shakespeare, lambda: n.Recurrent(SYMBOLS, 64, SYMBOLS, symbols=True), 1000),
        Task(
            "shakespeare-transformer",
            shakespeare,
            lambda: n.Transformer(SYMBOLS, 64, SYMBOLS, symbols=True, length=32),
            1000,
        ),
    )
    return {task.name: task for task in tasks}


TASKS = _tasks()
