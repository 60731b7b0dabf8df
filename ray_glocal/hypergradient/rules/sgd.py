"""Stochastic gradient descent with momentum, Nesterov, dampening and weight decay, as `torch.optim.SGD`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ray_glocal.hypergradient.rules.rule import Options, Slots, add_scaled, is_on


@dataclass(frozen=True)
class SGDRule:
    """Update rule of `torch.optim.SGD`."""

    fields: tuple[str, ...] = ("lr", "momentum", "dampening", "weight_decay")
    aliases: Mapping[str, str] = field(default_factory=dict)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        names = (*self.fields, "nesterov", "maximize")
        return {name: group[name] for name in names}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        group[field] = value

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        # Without momentum torch leaves a buffer of earlier steps alone, and so does the derivative.
        buffer = state.get("momentum_buffer") if is_on(options["momentum"]) else None
        return ({}, 0) if buffer is None else ({"momentum_buffer": buffer}, 1)

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        direction = -gradient if options["maximize"] else gradient
        if is_on(options["weight_decay"]):
            direction = add_scaled(direction, parameter, options["weight_decay"])
        if not is_on(options["momentum"]):
            return add_scaled(parameter, direction, -options["lr"]), {}
        buffer = slots.get("momentum_buffer")
        if buffer is None:  # torch starts the buffer at the first gradient, undampened
            buffer = direction
        else:
            buffer = add_scaled(buffer * options["momentum"], direction, 1 - options["dampening"])
        direction = add_scaled(direction, buffer, options["momentum"]) if options["nesterov"] else buffer
        return add_scaled(parameter, direction, -options["lr"]), {"momentum_buffer": buffer}
