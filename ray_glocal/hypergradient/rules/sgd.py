"""Stochastic gradient descent with momentum, Nesterov, dampening and weight decay, as `torch.optim.SGD`."""

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
    add_scaled,
    dot,
    is_on,
    takes,
    through_direction,
)


@dataclass(frozen=True)
class SGDRule:
    """Update rule of `torch.optim.SGD`."""

    elementwise: bool = True
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

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        parameter, slots, options, after = taken.parameter, taken.slots, taken.options, taken.after
        lr, momentum, decay = (float(options[name]) for name in ("lr", "momentum", "weight_decay"))
        heavy, decays = (takes(field, options, wanted) for field in ("momentum", "weight_decay"))
        nesterov = heavy and options["nesterov"]
        buffer = slots.get("momentum_buffer") if heavy else None
        share = 1.0 if buffer is None else 1 - options["dampening"]  # of the direction in the buffer after the step
        in_slot = slot_cotangents.get("momentum_buffer") if heavy else None
        push = -lr * momentum if nesterov else -lr
        in_buffer = cotangent * push if in_slot is None else in_slot.add_(cotangent, alpha=push)
        in_direction = in_buffer if share == 1 else in_buffer * share
        if nesterov:
            in_direction = torch.add(in_direction, cotangent, alpha=-lr)

        def along(tensor: Tensor) -> Tensor:
            """Inner product with the direction."""
            onto = dot(tensor, taken.gradient).mul_(-1.0 if options["maximize"] else 1.0)
            return onto.add_(dot(tensor, parameter), alpha=decay) if decay != 0 else onto

        def along_buffer() -> Tensor:
            """Inner product of the cotangent with the buffer after the step."""
            if after is not None and "momentum_buffer" in after:
                return dot(cotangent, after["momentum_buffer"])
            onto = along(cotangent).mul_(share)
            return onto if buffer is None else onto.add_(dot(cotangent, buffer), alpha=momentum)

        def derivative(field: str) -> Tensor:
            if field == "weight_decay":
                return dot(in_direction, parameter)
            if field == "dampening":
                return along(in_buffer) * (0.0 if buffer is None else -1.0)
            if field == "momentum":
                through = -lr * along_buffer() if nesterov else cotangent.new_zeros((), dtype=torch.float64)
                return through if buffer is None else through + dot(in_buffer, buffer)
            return -(along(cotangent) + momentum * along_buffer()) if nesterov else -along_buffer()

        found = {field: derivative(field) for field in wanted}
        before = {name: torch.zeros_like(t) if buffer is None else in_buffer * momentum for name, t in slots.items()}
        in_parameter, in_gradient = through_direction(in_direction, cotangent, options, decays=decays)
        return Pulled(in_parameter, in_gradient, before, found)
