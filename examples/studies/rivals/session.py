"""The session itself, adapting the learning rate alone."""

from copy import deepcopy
from dataclasses import dataclass, replace

from torch.optim.lr_scheduler import CosineAnnealingLR

from ray_glocal import GlocalSession, Hyperparameter, Settings
from rivals.training import LOWER, UPPER, Run, Trained, Training
from tasks import Shuffled, loss


@dataclass(frozen=True)
class Session:
    """A `GlocalSession`, judged at its averaged weights where it keeps them.

    Args:
        version: Of the session's defaults; raise it when they change, so that no older row is read back.
        windows: Whether by windows at a budget of a quarter, and not by its default settings.
        local: Whether the forecasts of those are the last hypergradient itself.
        cosine: Whether it adapts the multiplier of a cosine schedule in place of a constant rate.
    """

    version: int
    windows: bool = False
    local: bool = False
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
        if session.settings.averaging:
            with session.averaged_weights():
                model = deepcopy(model)
        return Trained(model, session.metrics()["cost/steps"], training.rates)

    def _settings(self) -> Settings:
        if not self.windows:
            return Settings()
        told = Settings(hypergradients="windows", averaging=False, overhead=0.25)
        return replace(told, forecaster="last", search_forecaster="last") if self.local else told
