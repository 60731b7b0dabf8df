"""Unconstrained coordinates in which the outer step moves: log, logit, softplus, identity, simplex.

A coordinate maps a hyperparameter's value to the real line (`to_line`), back (`to_value`), and pulls a
derivative in the value back to one on the line (`pull_back`). All work in float64.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ray_glocal.hypergradient.tuning import EDGE

Scale = Literal["log", "logit", "softplus", "identity", "simplex"]


class Coordinate(Protocol):
    """A smooth bijection between a domain of values and the real line."""

    def to_line(self, value: Tensor) -> Tensor:
        """Coordinate of `value`; same shape."""
        ...

    def to_value(self, line: Tensor) -> Tensor:
        """Value at coordinate `line`; same shape."""
        ...

    def pull_back(self, value: Tensor, derivative: Tensor) -> Tensor:
        """Derivative on the line from one in the value, shape [..., *value.shape] to the same."""
        ...


@dataclass(frozen=True)
class Identity:
    """The value itself."""

    def to_line(self, value: Tensor) -> Tensor:
        return value

    def to_value(self, line: Tensor) -> Tensor:
        return line

    def pull_back(self, value: Tensor, derivative: Tensor) -> Tensor:
        return derivative


@dataclass(frozen=True)
class Log:
    """Logarithm of a positive value: one unit is one e-fold."""

    def to_line(self, value: Tensor) -> Tensor:
        return value.log()

    def to_value(self, line: Tensor) -> Tensor:
        return line.exp()

    def pull_back(self, value: Tensor, derivative: Tensor) -> Tensor:
        return derivative * value


@dataclass(frozen=True)
class Logit:
    """Log odds of a value between `lower` and `upper`."""

    lower: float = 0.0
    upper: float = 1.0

    def _share(self, value: Tensor) -> Tensor:
        return ((value - self.lower) / (self.upper - self.lower)).clamp(EDGE, 1 - EDGE)

    def to_line(self, value: Tensor) -> Tensor:
        return self._share(value).logit()

    def to_value(self, line: Tensor) -> Tensor:
        return self.lower + (self.upper - self.lower) * line.sigmoid()

    def pull_back(self, value: Tensor, derivative: Tensor) -> Tensor:
        share = self._share(value)
        return derivative * (self.upper - self.lower) * share * (1 - share)


@dataclass(frozen=True)
class Softplus:
    """Inverse of log(1 + exp(x)): like a logarithm near zero, like the value itself far from it."""

    def to_line(self, value: Tensor) -> Tensor:
        return value + torch.log(-torch.expm1(-value))

    def to_value(self, line: Tensor) -> Tensor:
        return torch.nn.functional.softplus(line, threshold=50.0)

    def pull_back(self, value: Tensor, derivative: Tensor) -> Tensor:
        return derivative * -torch.expm1(-value)


@dataclass(frozen=True)
class Simplex:
    """Centred log of positive shares that sum to one; the inverse is softmax over all entries."""

    def to_line(self, value: Tensor) -> Tensor:
        line = value.log()
        return line - line.mean()

    def to_value(self, line: Tensor) -> Tensor:
        return line.flatten().softmax(0).reshape(line.shape)

    def pull_back(self, value: Tensor, derivative: Tensor) -> Tensor:
        own = tuple(range(derivative.ndim - value.ndim, derivative.ndim))
        weighted = derivative * value
        return weighted - value * weighted.sum(own, keepdim=True)


def coordinate(scale: Scale, lower: float, upper: float) -> Coordinate:
    """The coordinate that `scale` names; `lower` and `upper` matter to logit alone."""
    named: dict[str, Coordinate] = {
        "log": Log(),
        "softplus": Softplus(),
        "identity": Identity(),
        "simplex": Simplex(),
    }
    return Logit(lower, upper) if scale == "logit" else named[scale]
