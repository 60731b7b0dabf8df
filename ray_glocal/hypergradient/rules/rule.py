"""What an update rule is: one optimizer's step on one parameter, as a pure function that can be differentiated."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Number = float | Tensor
Options = Mapping[str, Any]
Slots = dict[str, Tensor]


class UpdateRule(Protocol):
    """One step of a torch optimizer on one parameter, functional and elementwise.

    With plain numbers for options, `update` performs the very operations of the torch optimizer in their order, so
    values agree bit for bit. With tensors it is differentiable in them, and values agree to rounding.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        """Options that are continuous hyperparameters."""
        ...

    @property
    def aliases(self) -> Mapping[str, str]:
        """Other names under which a search space may know a field."""
        ...

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Options of a parameter group by their own names (betas apart)."""
        ...

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        """Set one option of a live parameter group."""
        ...

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        """Buffers of a parameter and the steps it has taken, as the torch optimizer holds or would create them."""
        ...

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        """Parameter and buffers after the step that follows `step` earlier ones."""
        ...


def add_scaled(base: Tensor, other: Tensor, scale: Number) -> Tensor:
    """`base + scale * other`, by torch's fused kernel where `scale` is a plain number."""
    return base + scale * other if isinstance(scale, Tensor) else torch.add(base, other, alpha=scale)


def add_product(base: Tensor, left: Tensor, right: Tensor, scale: Number) -> Tensor:
    """`base + scale * left * right`, by torch's fused kernel where `scale` is a plain number."""
    if isinstance(scale, Tensor):
        return base + scale * (left * right)
    return torch.addcmul(base, left, right, value=scale)


def add_quotient(base: Tensor, left: Tensor, right: Tensor, scale: Number) -> Tensor:
    """`base + scale * left / right`, by torch's fused kernel where `scale` is a plain number."""
    if isinstance(scale, Tensor):
        return base + scale * (left / right)
    return torch.addcdiv(base, left, right, value=scale)


def mix(start: Tensor, end: Tensor, weight: Number) -> Tensor:
    """`start + weight * (end - start)`, by torch's kernel where `weight` is a plain number."""
    return start + weight * (end - start) if isinstance(weight, Tensor) else torch.lerp(start, end, weight)


def square_root(value: Tensor) -> Tensor:
    """Square root whose derivative at zero is zero: a weight that never had a gradient has no hypergradient."""
    at_zero = value == 0
    return torch.where(at_zero, torch.ones_like(value), value).sqrt().masked_fill(at_zero, 0.0)


def is_on(option: Number) -> bool:
    """Whether torch would take the branch of this option: it is differentiated in, or not zero."""
    return isinstance(option, Tensor) or option != 0
