"""Lion, as `ray_glocal.Lion`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.rules.rule import Options, Pulled, Slots, Update, add_scaled, dot


@dataclass(frozen=True)
class LionRule:
    """Update rule of `ray_glocal.Lion`.

    The sign in its step has the derivative zero almost everywhere. So nothing but learning rate and weight decay
    reaches the parameters differentiably: neither gradient nor moment, hence neither the betas, which are no fields.
    """

    elementwise: bool = True
    fields: tuple[str, ...] = ("lr", "weight_decay")
    aliases: Mapping[str, str] = field(default_factory=dict)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": beta1, "beta2": beta2, **{name: group[name] for name in self.fields}}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        group[field] = value

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        return {"exp_avg": state["exp_avg"] if state else torch.zeros_like(parameter)}, 0

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        moment = slots["exp_avg"]
        direction = torch.lerp(moment, gradient, 1 - options["beta1"]).sign()
        parameter = parameter * (1 - options["lr"] * options["weight_decay"])
        after: Slots = {"exp_avg": torch.lerp(moment, gradient, 1 - options["beta2"])}
        return add_scaled(parameter, direction, -options["lr"]), after

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        parameter, slots, options = taken.parameter, taken.slots, taken.options
        lr, beta2, decay = (float(options[name]) for name in ("lr", "beta2", "weight_decay"))
        in_moment = slot_cotangents.get("exp_avg")
        if in_moment is None:
            in_gradient = before = torch.zeros_like(parameter)
        else:
            in_gradient, before = in_moment * (1 - beta2), in_moment * beta2

        def derivative(field: str) -> Tensor:
            along = dot(cotangent, parameter)
            if field == "weight_decay":
                return along * -lr
            direction = torch.lerp(slots["exp_avg"], taken.gradient, 1 - options["beta1"]).sign_()
            return -(dot(cotangent, direction) + decay * along)

        found = {field: derivative(field) for field in wanted}
        return Pulled(cotangent.mul_(1 - lr * decay), in_gradient, {"exp_avg": before}, found)
