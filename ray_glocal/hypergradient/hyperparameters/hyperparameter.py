"""A continuous hyperparameter: its name, start value, bounds, and the coordinate in which it moves."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import torch
from torch import Tensor, nn

from ray_glocal.errors import AbsentError, ArgumentError
from ray_glocal.hypergradient.hyperparameters.coordinates import Coordinate, Scale, coordinate
from ray_glocal.names import entry_labels
from ray_glocal.options import DECAY_RATES

Values = Mapping[str, Tensor]  # float64 on the CPU, by name of the hyperparameter


@dataclass(frozen=True)
class Hyperparameter:
    """One continuous hyperparameter of the outer problem.

    Args:
        name: An option of the optimizer (`lr`, `momentum`, `weight_decay`, `beta1`, ...) or a key that the
            losses read from their third argument.
        start: Value at the first step: a number, or a tensor of any shape.
        lower: Smallest allowed value.
        upper: Largest allowed value.
        scale: Coordinate in which it moves: `log`, `logit`, `softplus`, `identity` or `simplex`.
        field: Option of the optimizer that it sets, where that is not `name` (say `lr` for `lr_head`).
        groups: Indices of the parameter groups whose option it sets; `None` for all of them.

    Examples:
        >>> from ray_glocal import Hyperparameter
        >>> rate = Hyperparameter("lr", 1e-3, lower=1e-5, upper=1.0, scale="log")
        >>> shares = Hyperparameter("class_weight", torch.ones(10) / 10, scale="simplex")
        >>> shares.size, shares.labels[:2]
        (10, ('class_weight[0]', 'class_weight[1]'))
        >>> of_the_head = Hyperparameter("lr_head", 1e-2, 1e-5, 1.0, "log", field="lr", groups=(1,))

    Raises:
        ArgumentError: An unknown scale, bounds out of order or that the scale cannot keep, or a start value that is
            not finite, not between the bounds or outside the scale's domain.
    """

    name: str
    start: float | Tensor
    lower: float = -math.inf
    upper: float = math.inf
    scale: Scale = "identity"
    field: str | None = None
    groups: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.scale not in get_args(Scale):
            rule = f"be one of {', '.join(get_args(Scale))} for {self.name!r}"
            remedy = "Rates move well by 'log', momentum and betas by 'logit', shares that sum to one by 'simplex'."
            raise ArgumentError("scale", rule, self.scale, remedy)
        self._check_bounds()
        self._check_start()

    def _check_bounds(self) -> None:
        if not self.lower < self.upper:
            remedy = "Widen the bounds; what is not to move is no hyperparameter."
            raise ArgumentError("lower", f"be below `upper`, {self.upper:g}, for {self.name!r}", self.lower, remedy)
        if self.scale == "logit" and self.field_name not in DECAY_RATES and math.isinf(self.upper - self.lower):
            raise ArgumentError(
                "scale", f"be 'logit' only where both bounds of {self.name!r} are finite", self.scale, "Give both."
            )
        if self.scale == "simplex" and (self.lower > 0 or self.upper < 1):
            rule = f"leave the shares of {self.name!r} all of [0, 1] on the simplex"
            raise ArgumentError("lower", rule, (self.lower, self.upper), "Leave the bounds out.")

    def _check_start(self) -> None:
        value = self.value
        inside = bool(torch.all((value >= self.lower) & (value <= self.upper)))  # False for NaN
        if not inside or not bool(torch.isfinite(value).all()):
            rule = f"lie between {self.lower:g} and {self.upper:g} for hyperparameter {self.name!r}"
            raise ArgumentError("start", rule, self.start, "Widen the bounds or move the start value.")
        if self.scale in ("log", "softplus", "simplex") and not bool(torch.all(value > 0)):
            rule = f"be positive on the {self.scale} scale of {self.name!r}"
            raise ArgumentError("start", rule, self.start, "Start above zero or choose another scale.")
        if self.scale == "simplex" and (abs(float(value.sum()) - 1) > 1e-6 or value.numel() < 2):
            rule = f"be two or more shares that sum to one on the simplex of {self.name!r}"
            raise ArgumentError("start", rule, self.start, "Divide the shares by their sum.")
        decay = self.scale == "logit" and self.field_name in DECAY_RATES
        if decay and not bool(torch.all((value >= 0) & (value <= 1))):
            rule = f"lie between 0 and 1 on the logit scale of {self.name!r}"
            raise ArgumentError("start", rule, self.start, "Start at the decay rate itself, 0.9 say.")

    @property
    def field_name(self) -> str:
        """Option of the optimizer that this hyperparameter sets, if it sets one."""
        return self.field or self.name

    @cached_property
    def value(self) -> Tensor:
        """The start value as a float64 tensor of the hyperparameter's shape."""
        return torch.as_tensor(self.start, dtype=torch.float64, device="cpu").detach().clone()

    @cached_property
    def coordinate(self) -> Coordinate:
        """The map between values and the real line."""
        if self.field_name in DECAY_RATES:  # their logit always spans (0, 1), and bounds only clip
            return coordinate(self.scale, 0.0, 1.0)
        return coordinate(self.scale, self.lower, self.upper)

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.value.numel()

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each entry."""
        return entry_labels(self.name, self.size)

    def clip(self, value: Tensor) -> Tensor:
        """The nearest value inside the bounds."""
        return value.clamp(self.lower, self.upper)


def module_hyperparameters(name: str, module: nn.Module) -> tuple[Hyperparameter, ...]:
    """The parameters of a module, a weighting network say, as hyperparameters `name/<parameter>`.

    In a loss, `torch.func.functional_call(module, hyper.under(name), inputs)` evaluates it at their present values.

    Examples:
        >>> [each.name for each in module_hyperparameters("weigher", nn.Linear(1, 1))]
        ['weigher/weight', 'weigher/bias']
    """
    return tuple(Hyperparameter(f"{name}/{key}", tensor.detach()) for key, tensor in module.named_parameters())


class HyperValues(Mapping[str, Tensor]):
    """Present values of the hyperparameters, as a loss reads them: by name, or all under a common prefix."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self._values = dict(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            rule = f"be read by the names that losses have, {', '.join(self._values) or 'none'}"
            raise AbsentError("hyper", rule, name, "Options of the optimizer are read by the optimizer alone.")
        self.read.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The values whose names begin with `prefix/`, by the rest of their names."""
        start = prefix + "/"
        return {name.removeprefix(start): self[name] for name in self._values if name.startswith(start)}
