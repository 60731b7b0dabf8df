"""A task of the comparison: a space, and how a configuration of it is trained, by whoever searches it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

Config = Mapping[str, Any]
Hyper = Mapping[str, Tensor]
Loss = Callable[..., Tensor]  # of model, batch and, in training, the hyperparameters that no optimizer option bears


@dataclass(frozen=True)
class Training:
    """One training, ready to begin: plain torch, of which a session and a plain loop make the same steps.

    Args:
        model: The network, in training mode.
        optimizer: With the configuration's options.
        schedule: Stepped after every inner step; None for constant rates.
        train_loss: `(model, batch, hyper) -> scalar`.
        val_loss: `(model, batch) -> scalar`, a mean over the examples of a batch; it reads no hyperparameter.
        batches: Re-iterable; an order of its own for each epoch, from a `generator` of its own.
        val_batches: What picks are made by.
        test_batches: What is published.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    train_loss: Loss
    val_loss: Loss
    batches: Iterable[Any]
    val_batches: Sequence[Any]
    test_batches: Sequence[Any]


@dataclass(frozen=True)
class Option:
    """What an optimizer's option is called, where a hyperparameter sets that of some parameter groups only."""

    name: str
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """One problem of a suite.

    Args:
        name: As on the command line.
        kind: Of its space: `few` (the optimizer's three beside discrete choices), `many` (thirty or more), `data`
            (weights of sources, examples, classes, losses).
        steps: Inner steps of a whole training.
        space: An ordinary Tune space: `tune.choice` for what is discrete, `tune.uniform` and `tune.loguniform` for
            what is continuous; at least one of each.
        build: A training of a configuration, from a seed of weights and orders.
        sensible: A whole configuration as somebody with experience would set it: where the grid of learning rates and
            weight decays stands, and Prodigy and Schedule-Free.
        options: Hyperparameters that set an option of some parameter groups, by name.
    """

    name: str
    kind: Literal["few", "many", "data"]
    steps: int
    space: Mapping[str, Any]
    build: Callable[[Config, int], Training]
    sensible: Config
    options: Mapping[str, Option] = field(default_factory=dict)

    def sets(self, name: str) -> str:
        """The optimizer's option that a hyperparameter sets, or its own name."""
        return self.options[name].name if name in self.options else name
