"""Plain training: a constant learning rate, or the cosine schedule from it to zero."""

from dataclasses import dataclass

from torch.optim.lr_scheduler import CosineAnnealingLR

from rivals.training import Run, Trained, Training, lost


@dataclass(frozen=True)
class Plain:
    """No adaptation.

    Args:
        lr: Learning rate, whatever the run's; `None` for the run's.
        cosine: Whether it falls to zero along a half period of the cosine (Loshchilov & Hutter, arXiv:1608.03983).
    """

    lr: float | None = None
    cosine: bool = False

    def train(self, run: Run) -> Trained:
        """Train; a run whose loss is no number any more is given up."""
        training = Training(run)
        training.lr = self.lr or run.lr
        schedule = CosineAnnealingLR(training.optimizer, run.steps) if self.cosine else None
        for batch in training.batches():
            if lost(training.advance(batch)):
                break
            if schedule is not None:
                schedule.step()
        return training.trained()
