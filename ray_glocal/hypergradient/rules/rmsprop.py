"""RMSprop with momentum and centring, as `torch.optim.RMSprop`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.rules.rule import (
    Options,
    Slots,
    add_product,
    add_quotient,
    add_scaled,
    is_on,
    mix,
    square_root,
)


@dataclass(frozen=True)
class RMSpropRule:
    """Update rule of `torch.optim.RMSprop`."""

    fields: tuple[str, ...] = ("lr", "alpha", "eps", "weight_decay", "momentum")
    aliases: Mapping[str, str] = field(default_factory=dict)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        return {name: group[name] for name in (*self.fields, "centered", "maximize")}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        group[field] = value

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if is_on(options["momentum"]) else []
        names += ["grad_avg"] if options["centered"] else []
        if not state:
            return {name: torch.zeros_like(parameter) for name in names}, 0
        return {name: state[name] for name in names}, int(state["step"])

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        alpha = options["alpha"]
        if options["maximize"]:
            gradient = -gradient
        if is_on(options["weight_decay"]):
            gradient = add_scaled(gradient, parameter, options["weight_decay"])
        square = add_product(slots["square_avg"] * alpha, gradient, gradient, 1 - alpha)
        after: Slots = {"square_avg": square}
        if options["centered"]:
            after["grad_avg"] = mix(slots["grad_avg"], gradient, 1 - alpha)
            square = add_product(square, after["grad_avg"], after["grad_avg"], -1.0)
        scale = square_root(square) + options["eps"]
        if not is_on(options["momentum"]):
            return add_quotient(parameter, gradient, scale, -options["lr"]), after
        buffer = add_quotient(slots["momentum_buffer"] * options["momentum"], gradient, scale, 1.0)
        after["momentum_buffer"] = buffer
        return add_scaled(parameter, buffer, -options["lr"]), after
