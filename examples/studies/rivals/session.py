"""The session itself, adapting the learning rate alone."""

from dataclasses import dataclass

from torch.optim.lr_scheduler import CosineAnnealingLR

from ray_glocal import GlocalSession, Hyperparameter, Settings
from rivals.training import LOWER, UPPER, Run, Trained, Training
from tasks import Shuffled, loss


@dataclass(frozen=True)
class Session:
    """A `GlocalSession` with its default settings.

    Args:
        version: Of the session's defaults; raise it when they change, so that no older row is read back.
        forecaster: In place of the default ones.
        cosine: Whether it adapts the multiplier of a cosine schedule in place of a constant rate.
    """

    version: int
    forecaster: str | None = None
    cosine: bool = False

    def train(self, run: Run) -> Trained:
        """Train by `session.step`."""
        training = Training(run)
        model, optimizer = training.model, training.optimizer
        session = GlocalSession(
            model,
            optimizer,
            loss,
            loss,
            val_batches=training.val_batches(),
            hyper=[Hyperparameter("lr", run.lr, LOWER, UPPER, "log")],
            total_steps=run.steps,
            lr_scheduler=CosineAnnealingLR(optimizer, run.steps) if self.cosine else None,
            settings=self._settings(),
        )
        for batch in session.batches(Shuffled(training.data.train, run.seed)):
            training.rates.append(training.lr)
            session.step(batch)
        return Trained(model, session.metrics()["cost/steps"], training.rates)

    def _settings(self) -> Settings:
        if self.forecaster is None:
            return Settings(hypergradients="windows", averaging=False, overhead=0.25)
        told = self.forecaster
        return Settings(
            hypergradients="windows", averaging=False, overhead=0.25, forecaster=told, search_forecaster=told
        )
