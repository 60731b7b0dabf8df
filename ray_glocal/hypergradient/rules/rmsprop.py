"""RMSprop with momentum and centring, as `torch.optim.RMSprop`."""

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
    add_present,
    add_product,
    add_quotient,
    add_scaled,
    direction_of,
    dot,
    is_on,
    mix,
    square_root,
    takes,
    through_direction,
    through_root,
    total,
)


@dataclass(frozen=True)
class RMSpropRule:
    """Update rule of `torch.optim.RMSprop`."""

    elementwise: bool = True
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

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        parameter, slots, options = taken.parameter, taken.slots, taken.options
        lr, alpha, momentum = options["lr"], options["alpha"], options["momentum"]
        decays = takes("weight_decay", options, wanted)
        buffer = slots.get("momentum_buffer") if takes("momentum", options, wanted) else None
        direction = direction_of(parameter, taken.gradient, options, decays=decays)
        square = (slots["square_avg"] * alpha).addcmul_(direction, direction, value=1 - alpha)
        mean = torch.lerp(slots["grad_avg"], direction, 1 - alpha) if options["centered"] else None
        root = (square if mean is None else square.addcmul_(mean, mean, value=-1.0)).sqrt_()
        scale = root + options["eps"]
        ratio = direction / scale

        in_slot = None if buffer is None else slot_cotangents.get("momentum_buffer")
        in_ratio = cotangent * -lr if in_slot is None else in_slot.add_(cotangent, alpha=-lr)
        in_direction = in_ratio / scale
        in_scale = torch.mul(in_direction, ratio, out=scale).neg_()
        in_eps = total(in_scale)
        in_centred = through_root(in_scale, root, 1.0, None)
        in_square = add_present(in_centred if mean is None else in_centred.clone(), slot_cotangents.get("square_avg"))
        in_direction.addcmul_(direction, in_square, value=2 * (1 - alpha))
        before = {"square_avg": in_square * alpha}
        in_mean = None
        if mean is not None:
            in_mean = add_present(in_centred.mul_(mean).mul_(-2.0), slot_cotangents.get("grad_avg"))
            in_direction.add_(in_mean, alpha=1 - alpha)
            before["grad_avg"] = in_mean * alpha
        if buffer is not None:
            before["momentum_buffer"] = in_ratio * momentum

        def derivative(field: str) -> Tensor:
            if field == "lr":
                along = dot(cotangent, ratio)
                return -(along if buffer is None else along + momentum * dot(cotangent, buffer))
            if field == "momentum":
                return total(torch.zeros_like(in_ratio)) if buffer is None else dot(in_ratio, buffer)
            if field == "eps":
                return in_eps
            if field == "weight_decay":
                return dot(in_direction, parameter)
            through = dot(in_square, slots["square_avg"]) - dot(in_square, direction.square())
            if in_mean is not None:
                through += dot(in_mean, slots["grad_avg"]) - dot(in_mean, direction)
            return through

        found = {field: derivative(field) for field in wanted}
        in_parameter, in_gradient = through_direction(in_direction, cotangent, options, decays=decays)
        return Pulled(in_parameter, in_gradient, before, found)
