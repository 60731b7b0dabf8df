"""Adagrad, as `torch.optim.Adagrad`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.rules.rule import (
    Options,
    Pulled,
    Slots,
    Update,
    add_product,
    add_quotient,
    add_scaled,
    direction_of,
    dot,
    is_on,
    square_root,
    takes,
    through_direction,
    through_root,
    total,
)


@dataclass(frozen=True)
class AdagradRule:
    """Update rule of `torch.optim.Adagrad`."""

    elementwise: bool = True
    fields: tuple[str, ...] = ("lr", "lr_decay", "eps", "weight_decay")
    aliases: Mapping[str, str] = field(default_factory=dict)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        return {name: group[name] for name in (*self.fields, "initial_accumulator_value", "maximize")}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        group[field] = value

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        if not state:
            return {"sum": torch.full_like(parameter, options["initial_accumulator_value"])}, 0
        return {"sum": state["sum"]}, int(state["step"])

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        if options["maximize"]:
            gradient = -gradient
        if is_on(options["weight_decay"]):
            gradient = add_scaled(gradient, parameter, options["weight_decay"])
        rate = options["lr"] / (1 + step * options["lr_decay"])
        square = add_product(slots["sum"], gradient, gradient, 1.0)
        scale = square_root(square) + options["eps"]
        return add_quotient(parameter, gradient, scale, -rate), {"sum": square}

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        parameter, slots, step, options = taken.parameter, taken.slots, taken.step, taken.options
        slowed = 1 + step * float(options["lr_decay"])
        rate = float(options["lr"]) / slowed
        decays = takes("weight_decay", options, wanted)
        direction = direction_of(parameter, taken.gradient, options, decays=decays)
        root = torch.addcmul(slots["sum"], direction, direction).sqrt_()
        scale = root + options["eps"]

        # In place from here on: fresh memory costs more than the arithmetic. What is overwritten is dotted before.
        shared = cotangent / scale
        in_scale = shared * direction  # times the rate
        in_rate = -total(in_scale)
        in_scale.div_(scale)
        in_eps = total(in_scale) * rate
        in_square = through_root(in_scale, root, rate, slot_cotangents.get("sum"))
        in_direction = torch.mul(direction, in_square, out=scale).mul_(2.0).add_(shared, alpha=-rate)
        in_parameter, in_gradient = through_direction(in_direction, cotangent, options, decays=decays)

        def derivative(field: str) -> Tensor:
            if field == "eps":
                return in_eps
            if field == "weight_decay":
                return dot(in_direction, parameter)
            return in_rate / slowed * (1.0 if field == "lr" else -rate * step)

        return Pulled(in_parameter, in_gradient, {"sum": in_square}, {field: derivative(field) for field in wanted})
