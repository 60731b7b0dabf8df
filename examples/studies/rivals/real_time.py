"""Real-time hyperparameter optimization: the tangent of the whole past, and a move of the rate every few steps.

Franceschi et al. 2017 (arXiv:1703.01785, RTHO); Im, Savin & Cho 2021 (arXiv:2102.07813, OHO) clip it and move often.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ray_glocal.session.pacing.cost import HESSIAN_PRODUCT
from rivals.tangent import Tangent
from rivals.training import Run, Trained, Training, lost
from tasks import Batch, loss

CLIP = 1.0  # of the elasticity: tangents at the edge of stability grow without bound


@dataclass(frozen=True)
class RealTime:
    """Adam on the logarithm of the learning rate, at the elasticity that the tangent from the first step on gives.

    Args:
        rate: Adam's.
        every: Inner steps between moves.
    """

    rate: float
    every: int = 10

    def train(self, run: Run) -> Trained:
        """Train at the price of a Hessian product a step."""
        training = Training(run)
        line = torch.tensor(math.log(run.lr), dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([line], lr=self.rate)
        for step, tangent in enumerate(carried(training, training.batches()), 1):
            if step % self.every == 0:
                line.grad = torch.tensor(elasticity(training, tangent), dtype=torch.float64)
                adam.step()
                training.lr = math.exp(line.item())
                line.data.fill_(math.log(training.lr))  # inside the bounds
        return training.trained()


def carried(training: Training, batches: Iterator[Batch]) -> Iterator[Tangent]:
    """Train, and yield the tangent after every step, until the loss is no number any more."""
    tangent = Tangent(training.optimizer)
    for batch in batches:
        value = loss(training.model, batch)
        if lost(float(value.detach())):
            return
        turned = tangent.differentiate(value)
        before = [p.detach().clone() for p in training.parameters]
        training.step()
        training.cost += HESSIAN_PRODUCT
        tangent.follow(turned, before)
        yield tangent


def elasticity(training: Training, tangent: Tangent) -> float:
    """Relative change of the validation loss per e-fold of the learning rate, clipped; a lost tangent starts anew."""
    value, gradient = training.outer_gradient(training.next_val())
    found = tangent.along(gradient) / value
    if not math.isfinite(found):
        tangent.reset()
        return 0.0
    return min(max(found, -CLIP), CLIP)
