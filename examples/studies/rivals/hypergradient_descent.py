"""Hypergradient descent (Baydin et al. 2018, arXiv:1703.04782): each gradient judges the direction of the last step."""

from dataclasses import dataclass

from torch import Tensor

from rivals.direction import directions, flat
from rivals.training import Run, Trained, Training, lost


@dataclass(frozen=True)
class HypergradientDescent:
    """The learning rate follows the product of a training gradient with the direction of the step before it.

    Args:
        rate: beta, the hypergradient's own learning rate.
        multiplicative: lr times 1 + beta cos(gradient, direction) in place of lr plus beta times their product.
    """

    rate: float
    multiplicative: bool

    def train(self, run: Run) -> Trained:
        """Train at the price of a plain run."""
        training = Training(run)
        last = None
        for batch in training.batches():
            if lost(training.gradient(batch)):
                break
            if last is not None:
                gradient = flat([p.grad for p in training.parameters])
                training.lr = self.adjusted(training.lr, gradient, last)
            before = [p.detach().clone() for p in training.parameters]
            training.step()
            last = flat(directions(training.optimizer, before))
        return training.trained()

    def adjusted(self, lr: float, gradient: Tensor, last: Tensor) -> float:
        """The next learning rate."""
        product = float(gradient @ last)
        if not self.multiplicative:
            return lr + self.rate * product
        size = float(gradient.norm() * last.norm())
        return lr * (1 + self.rate * product / size) if size else lr
