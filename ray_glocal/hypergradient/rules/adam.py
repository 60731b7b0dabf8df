"""Adam and AdamW, as `torch.optim.Adam` and `torch.optim.AdamW`."""

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
class AdamRule:
    """Update rule of `torch.optim.Adam`; of `torch.optim.AdamW` where weight decay is `decoupled`.

    `momentum` is an alias of `beta1`: both are the decay rate of the first moment, so that one search space can
    offer SGD and AdamW.
    """

    decoupled: bool = False
    fields: tuple[str, ...] = ("lr", "beta1", "beta2", "eps", "weight_decay")
    aliases: Mapping[str, str] = field(default_factory=lambda: {"momentum": "beta1"})

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        names = ("lr", "eps", "weight_decay", "amsgrad", "maximize")
        decoupled = group.get("decoupled_weight_decay", self.decoupled)  # newer torch offers it in Adam, too
        return {"beta1": beta1, "beta2": beta2, "decoupled": decoupled, **{name: group[name] for name in names}}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        beta1, beta2 = group["betas"]
        if field == "beta1":
            group["betas"] = (value, beta2)
        elif field == "beta2":
            group["betas"] = (beta1, value)
        else:
            group[field] = value

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        names = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if options["amsgrad"] else ()))
        if not state:
            return {name: torch.zeros_like(parameter) for name in names}, 0
        return {name: state[name] for name in names}, int(state["step"])

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        lr, beta1, beta2 = options["lr"], options["beta1"], options["beta2"]
        if options["maximize"]:
            gradient = -gradient
        if is_on(options["weight_decay"]):
            if options["decoupled"]:
                parameter = parameter * (1 - lr * options["weight_decay"])
            else:
                gradient = add_scaled(gradient, parameter, options["weight_decay"])
        first = mix(slots["exp_avg"], gradient, 1 - beta1)
        second = add_product(slots["exp_avg_sq"] * beta2, gradient, gradient, 1 - beta2)
        after: Slots = {"exp_avg": first, "exp_avg_sq": second}
        if options["amsgrad"]:
            second = torch.maximum(slots["max_exp_avg_sq"], second)
            after["max_exp_avg_sq"] = second
        correction1 = 1 - beta1 ** (step + 1)
        correction2 = 1 - beta2 ** (step + 1)
        scale = square_root(second) / correction2**0.5 + options["eps"]
        return add_quotient(parameter, first, scale, -(lr / correction1)), after
