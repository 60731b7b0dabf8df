"""A plain training of one configuration, read at its weights and at their average, from report to report."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from time import process_time
from typing import Any

import torch

from comparison.averaging import Average
from comparison.randomness import Randomness
from suites import Task, Training

REPORTS = 18  # of a training: rungs at a ninth and a third of it are reports
CEILING = 2.0  # times the loss of the untrained network: what a diverged training reports in place of its loss


@dataclass(frozen=True)
class Reading:
    """What a training has come to.

    Args:
        step: Inner steps taken.
        val: Validation loss.
        test: Test loss.
        averaged_val: Validation loss at averaged weights.
        averaged_test: Test loss at averaged weights.
        seconds: Processor time since the last reading, validation included, test and average not.
        lost: Whether it has diverged.
    """

    step: int
    val: float
    test: float
    averaged_val: float
    averaged_test: float
    seconds: float
    lost: bool


@torch.no_grad()
def mean_loss(training: Training, batches: Any, ceiling: float = math.inf) -> float:
    """Mean loss over batches in eval mode; no more than `ceiling`, which stands for what is no number, too."""
    model = training.model
    model.eval()
    value = float(torch.stack([training.val_loss(model, batch) for batch in batches]).double().mean())
    model.train()
    return min(value, ceiling) if math.isfinite(value) else ceiling


def report_steps(steps: int) -> list[int]:
    """The steps at which a training of so many reports."""
    return [round(steps * (count + 1) / REPORTS) for count in range(REPORTS)]


class PlainTraining:
    """One training; it can be put aside and taken up again, by another configuration too.

    Args:
        task: What is trained.
        config: A whole configuration.
        seed: Of weights and orders.
    """

    def __init__(self, task: Task, config: Mapping[str, Any], seed: int) -> None:
        self.task, self.seed, self.step, self.lost = task, seed, 0, False
        self.randomness = Randomness(seed)
        with self.randomness:
            self.training = task.build(config, seed)
        self.hyper = {name: torch.tensor(float(v)) for name, v in config.items() if isinstance(v, float)}
        self.average = Average(self.training.model)
        self.ceiling = CEILING * mean_loss(self.training, self.training.val_batches)
        self._stream = self._batches()

    def _batches(self) -> Iterator[Any]:
        return chain.from_iterable(repeat(self.training.batches))

    def advance(self, step: int) -> Reading:
        """Train up to a step, and read; a training that has diverged stands still."""
        start = process_time()
        apart = 0.0
        with self.randomness:
            while self.step < step and not self.lost:
                self.take_step()
                began = process_time()
                self.average.update(self.step)
                apart += process_time() - began
            self.step = step
            val = mean_loss(self.training, self.training.val_batches, self.ceiling)
            seconds = process_time() - start - apart
            test = mean_loss(self.training, self.training.test_batches, self.ceiling)
            with self.average.applied():
                parts = self.training.val_batches, self.training.test_batches
                averaged_val, averaged_test = (mean_loss(self.training, part, self.ceiling) for part in parts)
        self.lost = self.lost or val >= self.ceiling
        return Reading(step, val, test, averaged_val, averaged_test, seconds, self.lost)

    def take_step(self) -> None:
        """One plain step."""
        training = self.training
        training.optimizer.zero_grad()
        loss = training.train_loss(training.model, next(self._stream), self.hyper)
        loss.backward()
        training.optimizer.step()
        if training.schedule is not None:
            training.schedule.step()
        self.step += 1
        if self.step % REPORTS == 0 and not math.isfinite(loss.item()):
            self.lost = True

    # ---- for schedulers that copy trainings and change their hyperparameters ----

    def state(self) -> dict[str, Any]:
        """Weights, buffers of the optimizer, place in the schedule, average: not the hyperparameters."""
        training = self.training
        told = {
            "model": training.model.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "last_epoch": None if training.schedule is None else training.schedule.last_epoch,
            "average": self.average.tensors,
        }
        return copy.deepcopy(told) | {"step": self.step, "lost": self.lost}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from another training's weights with this one's hyperparameters.

        A rate stands to the peak of its own schedule as the other's did. Batches come in a new order.
        """
        state = copy.deepcopy(dict(state))
        training, self.step, self.lost = self.training, state["step"], state["lost"]
        training.model.load_state_dict(state["model"])
        theirs, own = state["optimizer"], training.optimizer.state_dict()["param_groups"]
        for group, other in zip(own, theirs["param_groups"], strict=True):
            if training.schedule is not None:
                group["lr"] = other["lr"] / other["initial_lr"] * group["initial_lr"]
        training.optimizer.load_state_dict({"state": theirs["state"], "param_groups": own})
        if training.schedule is not None:
            training.schedule.last_epoch = state["last_epoch"]
        for tensor, other in zip(self.average.tensors, state["average"], strict=True):
            tensor.copy_(other)
        order = 1_000_003 * (self.step + 1) + self.seed
        self.randomness = Randomness(order)
        training.batches.generator.manual_seed(order)
        self._stream = self._batches()
