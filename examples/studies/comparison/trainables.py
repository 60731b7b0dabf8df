"""What Tune trains: plain trainings, read back where they were made before, those that go on from others, sessions.

Each result says what it cost, in plain steps, since the one before it.
"""

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from ray import tune

from comparison.curves import Curve
from comparison.plain import CEILING, PlainTraining, Reading, mean_loss, report_steps
from comparison.prices import prices
from comparison.randomness import Randomness
from comparison.sessions import session_of
from ray_glocal import GlocalSession, Settings
from ray_glocal.tune import GlocalTrainable
from suites import Training, task

METRIC, MODE = "val_loss", "min"
LOG = "log10 of "  # begins the name of a hyperparameter that is searched on a line of its own


@dataclass(frozen=True)
class Trial:
    """What every trial of an experiment has in common.

    Args:
        task: Name of the task.
        seed: Of weights and orders, the same for all trials.
        averaged: Whether validation and test are at averaged weights.
        folder: Where plain trainings are kept; None for nowhere.
        settings: Of sessions.
    """

    task: str
    seed: int
    averaged: bool = False
    folder: Path | None = None
    settings: Settings | None = None


def plain_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with its hyperparameters themselves, where some were searched by their logarithm."""
    told = {name: value for name, value in config.items() if not name.startswith(LOG)}
    return told | {name.removeprefix(LOG): 10.0**value for name, value in config.items() if name.startswith(LOG)}


class _Plain(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """What plain trainables share: how a reading is reported."""

    trial: Trial
    lasting = False  # whether a diverged trial goes on, at the ceiling, until the scheduler replaces it

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial."""
        self.setup(new_config)
        return True

    def _told(self, reading: Reading, steps: int) -> dict[str, Any]:
        trial, known = self.trial, prices(self.trial.task)
        val, test = (reading.averaged_val, reading.averaged_test) if trial.averaged else (reading.val, reading.test)
        average = known.average if trial.averaged else 0.0
        return {
            METRIC: val,
            "test": test,
            "step": reading.step,
            "total_steps": task(trial.task).steps,
            "cost": steps * (1 + average) + known.report,
            "seconds": reading.seconds + steps * average * known.seconds,
            "done": reading.step >= task(trial.task).steps or (reading.lost and not self.lasting),
        }


class PlainTrainable(_Plain):
    """A plain training from its beginning; the same one, of whatever method, is made once."""

    def setup(self, config: dict[str, Any]) -> None:
        """Open the training's readings."""
        self._count = 0
        self._steps = [0, *report_steps(task(self.trial.task).steps)]
        self._curve = Curve(
            self.trial.folder, task(self.trial.task), own(plain_values(config), self.trial), self.trial.seed
        )

    def step(self) -> dict[str, Any]:
        """The next reading."""
        reading = self._curve[self._count]
        self._count += 1
        return self._told(reading, self._steps[self._count] - self._steps[self._count - 1])

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, int]:
        """Which reading comes next."""
        return {"count": self._count}

    def load_checkpoint(self, checkpoint: dict[str, int] | None) -> None:
        """Go on from there."""
        self._count = (checkpoint or {})["count"]


class CopiedTrainable(_Plain):
    """A plain training that may go on from another's weights, with hyperparameters of its own, as PBT makes them."""

    lasting = True

    def setup(self, config: dict[str, Any]) -> None:
        """Begin it."""
        trial = self.trial
        self._training = PlainTraining(task(trial.task), own(plain_values(config), trial), trial.seed)

    def step(self) -> dict[str, Any]:
        """Train up to the next report."""
        before = self._training.step
        step = next(step for step in report_steps(task(self.trial.task).steps) if step > before)
        return self._told(self._training.advance(step), step - before)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write weights, the optimizer's buffers, the place in the schedule."""
        torch.save(self._training.state(), Path(checkpoint_dir) / "training.pt")

    def load_checkpoint(self, checkpoint: str | None) -> None:
        """Go on from them."""
        self._training.load(torch.load(Path(str(checkpoint)) / "training.pt", weights_only=True))


class SessionTrainable(GlocalTrainable):
    """A session, at counted prices."""

    trial: Trial

    def build(self, config: dict[str, Any]) -> tuple[GlocalSession, Iterable[Any]]:
        """The session of a configuration, and its batches."""
        trial, told = self.trial, task(self.trial.task)
        self._randomness = Randomness(trial.seed)
        with self._randomness:
            self._training: Training = told.build(own(config, trial), trial.seed)
        self._ceiling = CEILING * mean_loss(self._training, self._training.val_batches)
        self._spent = 0.0
        common = {"settings": trial.settings, "prices": prices(trial.task)}
        return session_of(told, self._training, config, **common), self._training.batches

    def step(self) -> dict[str, Any]:
        """Train up to the next report."""
        start = process_time()
        with self._randomness:
            told = super().step()
        seconds, spent = process_time() - start, told["cost/seconds"]
        cost, self._spent = spent - self._spent, spent
        told[METRIC] = min(told[METRIC], self._ceiling) if told[METRIC] == told[METRIC] else self._ceiling
        return {**told, "test": self._test(), "cost": cost, "seconds": seconds}

    def _test(self) -> float:
        """Test loss at the weights whose validation loss is reported."""
        averaged = self.session.settings.averaging
        with self._randomness, self.session.averaged_weights() if averaged else nullcontext():
            return mean_loss(self._training, self._training.test_batches, self._ceiling)

    def load_checkpoint(self, checkpoint: str | dict[str, Any] | None) -> None:
        """Go on as the session does."""
        super().load_checkpoint(checkpoint)
        self._spent = self.session.metrics()["cost/seconds"]


def own(config: Mapping[str, Any], trial: Trial) -> dict[str, Any]:
    """The names of the space alone: schedulers and searchers put marks of their own into a configuration."""
    values = ((name, config[name]) for name in task(trial.task).space)
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in values}


def trainable(kind: type[tune.Trainable], trial: Trial) -> type[tune.Trainable]:
    """A class for Tune, bound to what its trials have in common."""
    return type(kind.__name__, (kind,), {"trial": trial})
