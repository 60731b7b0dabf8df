"""What every rival starts from and ends with: one training of one task, from one learning rate and seed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, cycle, islice, repeat
from typing import Protocol

import torch
from torch import Tensor, nn

from tasks import TASKS, Batch, Shuffled, loss, optimizer

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4
LOWER, UPPER = 1e-4, 1.0  # the user's space, whose bounds everybody keeps
VAL_SIZE = 100
VAL_BATCHES = 4  # that one outer gradient averages over, as in a session by default


@dataclass(frozen=True)
class Run:
    """One training to be done.

    Args:
        task: Name in `TASKS`.
        optimizer: `sgd` or `adamw`.
        lr: Where the learning rate starts.
        seed: Of the weights and of the batches' order.
        steps: Inner steps.
    """

    task: str
    optimizer: str
    lr: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Args:
        model: The network after training.
        cost: Inner-step equivalents spent, counted as a session counts its own.
        rates: Learning rate of every step.
    """

    model: nn.Module
    cost: float
    rates: list[float]


class Rival(Protocol):
    """A frozen dataclass whose `repr` names it with all its settings."""

    def train(self, run: Run) -> Trained:
        """One attempt at a run."""
        ...


@dataclass
class Training:
    """A model in training, with the learning rates that it was given and the cost so far."""

    run: Run
    rates: list[float] = field(default_factory=list)
    cost: float = 0.0

    def __post_init__(self) -> None:
        task = TASKS[self.run.task]
        self.data = task.data()
        self.model = task.model(self.run.seed)
        self.optimizer = optimizer(self.run.optimizer, self.model, self.run.lr, MOMENTUM, WEIGHT_DECAY)
        self._val = cycle(self.val_batches())

    @property
    def parameters(self) -> list[Tensor]:
        """Of the optimizer's only group."""
        return list(self.optimizer.param_groups[0]["params"])

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizer.param_groups[0]["lr"] = min(max(value, LOWER), UPPER)

    def batches(self) -> Iterator[Batch]:
        """Every batch of the run."""
        return islice(chain.from_iterable(repeat(Shuffled(self.data.train, self.run.seed))), self.run.steps)

    def val_batches(self) -> list[Batch]:
        """The validation part in batches."""
        inputs, targets = self.data.val
        return list(zip(inputs.split(VAL_SIZE), targets.split(VAL_SIZE), strict=True))

    def next_val(self) -> list[Batch]:
        """Batches of the next outer gradient; all take their turn."""
        return [next(self._val) for _ in range(VAL_BATCHES)]

    def gradient(self, batch: Batch) -> float:
        """Training loss, its gradient left in the parameters."""
        self.optimizer.zero_grad()
        value = loss(self.model, batch)
        value.backward()
        return float(value.detach())

    def step(self) -> None:
        """Let the optimizer take its step along the gradient, and enter it into the account."""
        self.rates.append(self.lr)
        self.cost += 1
        self.optimizer.step()

    def advance(self, batch: Batch) -> float:
        """One plain step; the loss before it."""
        value = self.gradient(batch)
        self.step()
        return value

    def outer_gradient(self, batches: list[Batch]) -> tuple[float, list[Tensor]]:
        """Validation loss and its gradient; a batch costs as much as a step."""
        self.cost += len(batches)
        value = torch.stack([loss(self.model, batch) for batch in batches]).mean()
        return float(value.detach()), list(torch.autograd.grad(value, self.parameters))

    def trained(self) -> Trained:
        """The result as it stands."""
        return Trained(self.model, self.cost, self.rates)


def lost(value: float) -> bool:
    """Whether a loss says that the weights are beyond help."""
    return not math.isfinite(value)
