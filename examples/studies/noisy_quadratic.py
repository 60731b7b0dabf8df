"""The noisy quadratic: SGD with momentum on a bowl, where every hypergradient has a closed form.

Zhang et al. 2019 (arXiv:1907.04164). The inner loss is 1/2 sum a x^2 - (b + noise) x with a ridge towards a prior
point; the outer loss is 1/2 sum a (x - v)^2. Each coordinate obeys s' = M s + u with s = (momentum buffer, x), so the
expected outer loss after any number of steps is a matrix power; its derivative is taken by a complex step, which is
exact to rounding and shares no line with the engines.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ray_glocal.hypergradient import Hyperparameter, Problem

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

NAMES = ("lr", "momentum", "weight_decay", "ridge")
DECAY = 1e-3  # weight decay, and the ridge
_TINY = 1e-30  # of the complex step; no difference is formed, so nothing cancels


@dataclass(frozen=True)
class Bowl:
    """A spectrum and the optimizer on it.

    Args:
        decades: Of the curvatures, which end at one.
        count: Of coordinates.
        momentum: Of SGD, whose lr is half of one minus it.
    """

    decades: float
    count: int
    momentum: float

    @property
    def curvatures(self) -> Array:
        """Shape [coordinate]."""
        return np.logspace(-self.decades, 0, self.count)

    @property
    def start(self) -> tuple[float, ...]:
        """Values of the hyperparameters, in the order of `NAMES`."""
        return 0.5 * (1 - self.momentum), self.momentum, DECAY, DECAY


BOWLS = {"calm": Bowl(1.3, 5, 0.5), "swinging": Bowl(1.3, 5, 0.9), "wide": Bowl(3.0, 20, 0.9)}


class Point(nn.Module):
    """A point in the bowl."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.place = nn.Parameter(start.clone())


@dataclass(frozen=True)
class NoisyQuadratic:
    """One bowl with its random numbers.

    Args:
        bowl: Its spectrum and optimizer.
        noise: Deviation of the gradient's noise in units of sqrt(curvature), which is how minibatches' noise scales.
        seed: Of the start, the optima and the noise.
    """

    bowl: Bowl
    noise: float
    seed: int

    @property
    def curvatures(self) -> Array:
        """The spectrum of the inner loss, shape [coordinate]."""
        return self.bowl.curvatures

    @cached_property
    def points(self) -> Array:
        """Start, pull b, prior point and optimum of the outer loss, shape [4, coordinate]."""
        start, optimum, prior, shift = np.random.default_rng((self.seed, 0)).standard_normal((4, len(self.curvatures)))
        return np.stack([start, self.curvatures * optimum, prior, optimum + 0.3 * shift])

    def batches(self, count: int, future: int = 0) -> list[Tensor]:
        """Noise of so many steps, from a stream of its own for every `future`."""
        draws = np.random.default_rng((self.seed, 1, future)).standard_normal((count, len(self.curvatures)))
        return list(torch.tensor(self.noise * np.sqrt(self.curvatures) * draws))

    def problem(self) -> Problem:
        """The bowl as a bilevel problem of plain torch objects."""
        start, pull, prior, target = map(torch.tensor, self.points)
        point, (lr, momentum, decay, ridge) = Point(start), self.bowl.start
        sgd = torch.optim.SGD(point.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
        hyper = [
            Hyperparameter("lr", lr, 1e-4, 1.0, "log"),
            Hyperparameter("momentum", momentum, 0.0, 0.99, "logit"),
            Hyperparameter("weight_decay", decay, 1e-6, 1.0, "log"),
            Hyperparameter("ridge", ridge, 1e-6, 1.0, "log"),
        ]
        curvatures = torch.tensor(self.curvatures)
        return Problem(point, sgd, train_loss(curvatures, pull, prior), val_loss(curvatures, target), hyper)

    # ---- the closed form ----

    def expected(self, told: Sequence[Tensor], steps: Sequence[int], before: Sequence[Tensor] = ()) -> Array:
        """Derivative of the expected outer loss after `steps`, on the line, given the noise of the first of them.

        Args:
            told: Noise that is known; what comes after is averaged over.
            steps: Numbers of steps since the window's start, each at least as many as are known.
            before: Noise of plain steps ahead of the window, on which the hyperparameters have no effect.

        Returns:
            Shape [step number, hyperparameter].
        """
        motion = self._motion(1j * _TINY)
        state = self._window_start(before)
        for noise in told:
            state = motion.forward(state, noise.numpy())
        return self._on_the_line([motion.expected_loss(state, n - len(told), self.noise) for n in steps])

    def realised(self, told: Sequence[Tensor], steps: Sequence[int], before: Sequence[Tensor] = ()) -> Array:
        """Derivative of the outer loss after `steps` of one future, on the line; arguments as of `expected`."""
        motion = self._motion(1j * _TINY)
        state, losses = self._window_start(before), {}
        for count, noise in enumerate(told, 1):
            state = motion.forward(state, noise.numpy())
            losses[count] = motion.loss(state)
        return self._on_the_line([losses[n] for n in steps])

    def _motion(self, step: complex) -> "Motion":
        """The motion at a step in each hyperparameter."""
        told = np.array([self.bowl.start] * len(NAMES)) + step * np.eye(len(NAMES))
        return Motion.at(told, self.curvatures, self.points)

    def _on_the_line(self, losses: Sequence[Complex]) -> Array:
        """Derivatives in log lr, logit momentum, log weight decay and log ridge, from losses at complex steps."""
        lr, momentum, decay, ridge = self.bowl.start
        slopes = np.array([lr, momentum * (1 - momentum), decay, ridge])
        line: Array = np.array(losses).imag / _TINY * slopes
        return line

    def _window_start(self, before: Sequence[Tensor]) -> Complex:
        motion = self._motion(0j)
        state = np.zeros((len(NAMES), len(self.curvatures), 2), dtype=complex)
        state[..., 1] = self.points[0]
        for noise in before:
            state = motion.forward(state, noise.numpy())
        return state


def train_loss(curvatures: Tensor, pull: Tensor, prior: Tensor) -> Callable[..., Tensor]:
    """The inner loss; a batch is its noise."""

    def loss(point: Point, noise: Tensor, hyper: dict[str, Tensor]) -> Tensor:
        bowl = 0.5 * (curvatures * point.place**2).sum() - ((pull + noise) * point.place).sum()
        return bowl + 0.5 * hyper["ridge"] * ((point.place - prior) ** 2).sum()

    return loss


def val_loss(curvatures: Tensor, target: Tensor) -> Callable[..., Tensor]:
    """The outer loss."""

    def loss(point: Point, _batch: object) -> Tensor:
        return 0.5 * (curvatures * (point.place - target) ** 2).sum()

    return loss


@dataclass(frozen=True, eq=False)
class Motion:
    """The linear motion s' = M s + u, once for each perturbed hyperparameter.

    Args:
        curvatures: Shape [coordinate].
        matrix: M, shape [hyperparameter, coordinate, 2, 2].
        drive: u without noise, shape [hyperparameter, coordinate, 2].
        push: What a unit of gradient noise adds to s, shape [hyperparameter, 1, 2].
        target: Optimum of the outer loss, shape [coordinate].
    """

    curvatures: Array
    matrix: Complex
    drive: Complex
    push: Complex
    target: Array

    @classmethod
    def at(cls, told: Complex, curvatures: Array, points: Array) -> "Motion":
        """The motion at hyperparameters of shape [row, hyperparameter]."""
        lr, momentum, decay, ridge = (column[:, None] for column in told.T)
        stiffness = curvatures + decay + ridge
        force = points[1] + ridge * points[2]
        one = np.ones_like(stiffness)
        matrix = np.stack([momentum * one, stiffness, -lr * momentum * one, 1 - lr * stiffness], axis=-1)
        push = np.stack([-np.ones_like(lr), lr], axis=-1)
        return cls(curvatures, matrix.reshape(*stiffness.shape, 2, 2), force[..., None] * push, push, points[3])

    def forward(self, state: Complex, noise: Array) -> Complex:
        """One step."""
        moved: Complex = (self.matrix @ state[..., None])[..., 0] + self.drive + noise[:, None] * self.push
        return moved

    def loss(self, state: Complex) -> Complex:
        """Outer loss, shape [hyperparameter]."""
        value: Complex = 0.5 * (self.curvatures * (state[..., 1] - self.target) ** 2).sum(-1)
        return value

    def expected_loss(self, state: Complex, steps: int, noise: float) -> Complex:
        """Outer loss averaged over the noise of `steps` steps: loss of the mean plus the variance's share."""
        power, covariance = self._powers(steps, noise)
        rest = np.linalg.solve(np.eye(2) - self.matrix, self.drive[..., None])[..., 0]
        mean = rest + (power @ (state - rest)[..., None])[..., 0]
        value: Complex = self.loss(mean) + 0.5 * (self.curvatures * covariance[..., 1, 1]).sum(-1)
        return value

    def _powers(self, steps: int, noise: float) -> tuple[Complex, Complex]:
        """M^steps and the covariance that `steps` steps of noise add, by doubling."""
        kick = noise**2 * self.curvatures[:, None, None] * self.push[..., :, None] * self.push[..., None, :]
        power = np.broadcast_to(np.eye(2, dtype=complex), self.matrix.shape)
        covariance, base, spread = np.zeros_like(self.matrix), self.matrix, kick
        while steps:
            if steps & 1:
                covariance = base @ covariance @ base.swapaxes(-1, -2) + spread
                power = base @ power
            spread = base @ spread @ base.swapaxes(-1, -2) + spread
            base = base @ base
            steps >>= 1
        return power, covariance
