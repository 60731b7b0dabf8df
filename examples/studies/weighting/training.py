"""One training under one weighting, plain or by a session, and what it came to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ray_glocal import GlocalSession
from ray_glocal.hypergradient.hyperparameters.hyperparameter import HyperValues
from ray_glocal.session import Settings
from tasks import Task, accuracy, loss, mean_loss, optimizer
from weighting.examples import Examples, Watched, Weighable
from weighting.weights import Loss, Weighting

LR, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 1e-2  # AdamW's defaults
SIZE = 50


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Args:
        curve: Validation loss, validation accuracy and test accuracy after each epoch.
        seconds: Processor time without these measurements.
        steps: Inner-step equivalents, validation and hypergradients included, per inner step.
        values: Hyperparameters at the end.
        weights: Weights of the training examples at the end, the largest one, shape [example]; if there are any.
    """

    curve: Sequence[tuple[float, float, float]]
    seconds: float
    steps: float
    values: dict[str, list[float]]
    weights: Tensor | None = None

    @property
    def last(self) -> tuple[float, float, float]:
        """The end of training."""
        return self.curve[-1]

    @property
    def stopped(self) -> tuple[float, float, float]:
        """The epoch of the best validation accuracy."""
        return max(self.curve, key=lambda point: point[1])


class Course:
    """A network with its optimizer, cosine schedule and batches.

    Args:
        task: Network and number of classes.
        examples: What it is trained on.
        epochs: Length of the training.
        seed: Of the network and of the order of the batches.
        watching: Whether the network judges the examples, see `Watched`.
    """

    def __init__(self, task: Task, examples: Examples, epochs: int, seed: int, *, watching: bool) -> None:
        self.examples = examples
        self.model = task.model(seed)
        self.optimizer = optimizer("adamw", self.model, LR, MOMENTUM, WEIGHT_DECAY)
        self.loader = Watched(examples.split.train, self.model, seed, SIZE, watching=watching)
        self.epoch = len(examples.clean) // SIZE
        self.total = epochs * self.epoch
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, self.total)

    def plain(self, train_loss: Loss) -> Outcome:
        """Train with weights that nobody adapts."""

        def step(batch: Weighable) -> None:
            self.optimizer.zero_grad()
            train_loss(self.model, batch).backward()
            self.optimizer.step()
            self.schedule.step()

        curve, seconds = self._run(step)
        return Outcome(curve, seconds, 1.0, {})

    def adapted(self, weighting: Weighting, settings: Settings, batches: int) -> Outcome:
        """Train with a session that adapts the weighting.

        Args:
            weighting: Its hyperparameters and training loss.
            settings: Of the session.
            batches: Number of validation batches.
        """
        val = [part.split(len(part) // batches) for part in self.examples.split.val]
        session = GlocalSession(
            self.model,
            self.optimizer,
            weighting.loss,
            loss,
            val_batches=list(zip(*val, strict=True)),
            hyper=weighting.hyper,
            total_steps=self.total,
            lr_scheduler=self.schedule,
            settings=settings,
        )
        curve, seconds = self._run(session.step)
        values = {name: value.flatten().tolist() for name, value in session.values.items() if value.numel() <= 16}
        steps = session.metrics()["cost/steps"] / self.total
        return Outcome(curve, seconds, steps, values, self._weights(weighting, session.values))

    def _weights(self, weighting: Weighting, values: dict[str, Tensor]) -> Tensor | None:
        if weighting.weights is None:
            return None
        inputs, labels = self.examples.split.train
        whole = Weighable(inputs, labels, torch.arange(len(labels)), self.loader.judged)
        single = HyperValues({name: value.to(inputs.dtype) for name, value in values.items()})
        weights = weighting.weights(single, whole)
        return weights / weights.max()

    def _run(self, step: Callable[[Weighable], object]) -> tuple[list[tuple[float, float, float]], float]:
        curve, seconds, taken = [], 0.0, 0
        while taken < self.total:
            began = time.process_time()
            for batch in self.loader:
                step(batch)
                taken += 1
            seconds += time.process_time() - began
            curve.append(self._measured(self.model))
        return curve, seconds

    def _measured(self, model: nn.Module) -> tuple[float, float, float]:
        split = self.examples.split
        return mean_loss(model, split.val), accuracy(model, split.val), accuracy(model, split.test)
