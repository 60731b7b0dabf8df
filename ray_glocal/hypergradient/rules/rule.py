"""What an update rule is: one optimizer's step on one parameter, as a pure function that can be differentiated."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

Number = float | Tensor
Options = Mapping[str, Any]
Slots = dict[str, Tensor]


@dataclass(frozen=True)
class Update:
    """An update that was taken: of one parameter, or, where the rule is elementwise, of a tensor of any shape.

    Args:
        parameter: Before the step.
        read_gradient: What gives its gradient, of the same shape; asked at most once, and only by rules that need it.
        slots: Its buffers before the step, as a rule's `read` gives them.
        step: Steps taken before.
        options: Plain numbers, as a rule's `options` gives them.
        after: The buffers after the step, where they are known: they need not be computed again.
    """

    parameter: Tensor
    read_gradient: Callable[[], Tensor]
    slots: Mapping[str, Tensor]
    step: int
    options: Options
    after: Mapping[str, Tensor] | None = None

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the parameter."""
        return self.read_gradient()


@dataclass(frozen=True)
class Pulled:
    """Cotangents of what an update reads; tensors may share memory with each other and with the arguments.

    Args:
        parameter: Of the parameter before the step, in its shape.
        gradient: Of the gradient, in the same shape.
        slots: Of each buffer before the step, in the same shape.
        options: Derivative in each option that was wanted, 0-d float64.
    """

    parameter: Tensor
    gradient: Tensor
    slots: Slots
    options: dict[str, Tensor]


class UpdateRule(Protocol):
    """One step of a torch optimizer on one parameter, functional.

    With plain numbers for options, `update` performs the very operations of the torch optimizer in their order, so
    values agree bit for bit. With tensors it is differentiable in them, and values agree to rounding. `pull_back` is
    its transposed derivative by hand; a rule that has none inherits it from `ByAutograd`.
    """

    @property
    def elementwise(self) -> bool:
        """Whether entries move independently, so that parameters of any shape may be updated as one flat tensor."""
        ...

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

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        """Pull cotangents back through an update, with gradient mode off.

        Args:
            taken: The update.
            wanted: Fields to differentiate in; their branch is taken at zero, too.
            cotangent: Of the parameter after the step; it may be overwritten.
            slot_cotangents: Of the buffers after the step; one that is missing is zero. They may be overwritten.
        """
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


def takes(field: str, options: Options, wanted: Collection[str]) -> bool:
    """Whether a pull-back takes the branch of a field: it is differentiated in, or not zero."""
    return field in wanted or options[field] != 0


def direction_of(parameter: Tensor, gradient: Tensor, options: Options, *, decays: bool) -> Tensor:
    """The gradient, turned round where the loss is maximised, with weight decay in it where that `decays`."""
    direction = -gradient if options["maximize"] else gradient
    return torch.add(direction, parameter, alpha=options["weight_decay"]) if decays else direction


def through_direction(
    in_direction: Tensor, cotangent: Tensor, options: Options, *, decays: bool
) -> tuple[Tensor, Tensor]:
    """Cotangents of parameter and gradient, given those of the direction and what else reaches the parameter.

    The latter is overwritten.
    """
    decay = options["weight_decay"]
    in_parameter = cotangent.add_(in_direction, alpha=decay) if decays and decay != 0 else cotangent
    return in_parameter, -in_direction if options["maximize"] else in_direction


def through_root(in_root: Tensor, root: Tensor, scale: float, cotangent: Tensor | None) -> Tensor:
    """`scale * in_root / (2 root) + cotangent`, what a square root pulls back; its derivative at zero is zero.

    Overwrites both `in_root`, with the result, and `root`.
    """
    return add_present(in_root.div_(torch.threshold_(root, 0.0, math.inf)).mul_(scale / 2), cotangent)


def add_present(base: Tensor, cotangent: Tensor | None) -> Tensor:
    """Add a cotangent to `base` in place; a missing one is zero."""
    return base if cotangent is None else base.add_(cotangent)


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner product of two tensors of one shape, 0-d float64; half precision is accumulated in single."""
    wide = _accumulated(left)
    return torch.dot(left.reshape(-1).to(wide), right.reshape(-1).to(wide)).double()


def total(value: Tensor) -> Tensor:
    """Sum of all entries, 0-d float64; half precision is accumulated in single."""
    return value.sum(dtype=_accumulated(value)).double()


def _accumulated(value: Tensor) -> torch.dtype:
    """Precision in which entries are summed."""
    return torch.promote_types(value.dtype, torch.float32)
