"""Optimizers that choose or need no schedule themselves, from packages of their own (prodigyopt, schedulefree)."""

from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec

from rivals.training import MOMENTUM, WEIGHT_DECAY, Run, Trained, Training, lost


@dataclass(frozen=True)
class Prodigy:
    """Prodigy (Mishchenko & Defazio, arXiv:2306.06101): AdamW that estimates its own step; the run's lr is ignored."""

    def train(self, run: Run) -> Trained:
        """Train at the package's default learning rate of 1, a multiplier."""
        from prodigyopt import Prodigy as Optimizer

        training = Training(run)
        with redirect_stdout(None):  # it announces itself
            training.optimizer = Optimizer(training.parameters, betas=(MOMENTUM, 0.999), weight_decay=WEIGHT_DECAY)
        for batch in training.batches():
            if lost(training.advance(batch)):
                break
        return training.trained()


@dataclass(frozen=True)
class ScheduleFree:
    """Schedule-free SGD or AdamW (Defazio et al., arXiv:2405.15682): averages, not a schedule, at the run's lr."""

    def train(self, run: Run) -> Trained:
        """Train at the run's learning rate; the averaged weights are the result."""
        from schedulefree import AdamWScheduleFree, SGDScheduleFree

        training = Training(run)
        settings = {"lr": run.lr, "weight_decay": WEIGHT_DECAY}
        if run.optimizer == "sgd":
            training.optimizer = SGDScheduleFree(training.parameters, momentum=MOMENTUM, **settings)
        else:
            training.optimizer = AdamWScheduleFree(training.parameters, betas=(MOMENTUM, 0.999), **settings)
        training.optimizer.train()
        for batch in training.batches():
            if lost(training.advance(batch)):
                break
        training.optimizer.eval()
        return training.trained()


def installed() -> bool:
    """Whether both packages are there."""
    return all(find_spec(name) for name in ("prodigyopt", "schedulefree"))
