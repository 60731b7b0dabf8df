"""Adam and AdamW, as `torch.optim.Adam` and `torch.optim.AdamW`."""

import math
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
from ray_glocal.options import ALIASES, set_option


@dataclass(frozen=True)
class AdamRule:
    """Update rule of `torch.optim.Adam`; of `torch.optim.AdamW` where weight decay is `decoupled`.

    `momentum` is an alias of `beta1`: both are the decay rate of the first moment, so that one search space can
    offer SGD and AdamW.
    """

    decoupled: bool = False
    elementwise: bool = True
    fields: tuple[str, ...] = ("lr", "beta1", "beta2", "eps", "weight_decay")
    aliases: Mapping[str, str] = field(default_factory=ALIASES.copy)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        names = ("lr", "eps", "weight_decay", "amsgrad", "maximize")
        decoupled = group.get("decoupled_weight_decay", self.decoupled)  # newer torch offers it in Adam, too
        return {"beta1": beta1, "beta2": beta2, "decoupled": decoupled, **{name: group[name] for name in names}}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        set_option(group, field, value)

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

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        parameter, gradient, slots, options = taken.parameter, taken.gradient, taken.slots, taken.options
        step, after = taken.step, taken.after
        lr, beta1, beta2, decay = (float(options[name]) for name in ("lr", "beta1", "beta2", "weight_decay"))
        decoupled = options["decoupled"]
        coupled = takes("weight_decay", options, wanted) and not decoupled
        age = step + 1
        correction1, correction2 = 1 - beta1**age, 1 - beta2**age
        rate, spread = lr / correction1, 1 / math.sqrt(correction2)

        direction = direction_of(parameter, gradient, options, decays=coupled)
        first, second = (after["exp_avg"], after["exp_avg_sq"]) if after else self._moments(slots, direction, options)
        root = (torch.maximum(slots["max_exp_avg_sq"], second) if options["amsgrad"] else second).sqrt()
        scale = torch.rsub(root, options["eps"], alpha=-spread)

        # In place from here on: fresh memory costs more than the arithmetic. What is overwritten is dotted before.
        shared = cotangent / scale
        in_rate = -dot(shared, first)
        along_parameter = dot(cotangent, parameter) if decoupled and wanted else in_rate
        in_scale = torch.mul(first, shared).div_(scale)  # times the rate
        along_root = dot(in_scale, root) if "beta2" in wanted else in_rate
        along_scale = total(in_scale) if "eps" in wanted else in_rate
        in_first = add_present(shared.mul_(-rate), slot_cotangents.get("exp_avg"))
        in_second, largest = self._through_second(second, root, in_scale, rate * spread, slots, slot_cotangents)
        in_direction = torch.mul(direction, in_second, out=scale).mul_(2 * (1 - beta2)).add_(in_first, alpha=1 - beta1)
        in_parameter, in_gradient = through_direction(in_direction, cotangent, options, decays=coupled)
        if decoupled and decay != 0:
            in_parameter = cotangent.mul_(1 - lr * decay)

        def derivative(field: str) -> Tensor:
            if field == "eps":
                return along_scale * rate
            if field == "weight_decay":
                return along_parameter * -lr if decoupled else dot(in_direction, parameter)
            if field == "beta2":
                through = dot(in_second, slots["exp_avg_sq"]) - dot(in_second, direction.square())
                return through + along_root * (rate * 0.5 * spread**3 * age * beta2**step)
            if field == "beta1":
                through = dot(in_first, slots["exp_avg"]) - dot(in_first, direction)
                return through + in_rate * (rate / correction1 * age * beta1**step)
            shrunk = in_rate / correction1
            return shrunk - decay * along_parameter if decoupled else shrunk

        found = {field: derivative(field) for field in wanted}
        before = {"exp_avg": in_first.mul_(beta1), "exp_avg_sq": in_second.mul_(beta2), **largest}
        return Pulled(in_parameter, in_gradient, before, found)

    @staticmethod
    def _moments(slots: Mapping[str, Tensor], direction: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        """Both moments after the step."""
        first = torch.lerp(slots["exp_avg"], direction, 1 - options["beta1"])
        beta2 = options["beta2"]
        return first, (slots["exp_avg_sq"] * beta2).addcmul_(direction, direction, value=1 - beta2)

    @staticmethod
    def _through_second(
        second: Tensor,
        root: Tensor,
        in_root: Tensor,
        scale: float,
        slots: Mapping[str, Tensor],
        slot_cotangents: Mapping[str, Tensor],
    ) -> tuple[Tensor, Slots]:
        """Cotangents of the second moment after the step and, for AMSGrad, of the largest so far before it.

        Overwrites `root` and `in_root`.
        """
        held = slot_cotangents.get("exp_avg_sq")
        if "max_exp_avg_sq" not in slots:
            return through_root(in_root, root, scale, held), {}
        largest = slots["max_exp_avg_sq"]
        newer = torch.sub(second, largest).sign_().add_(1.0).mul_(0.5)  # 1, 0, or a half where both are as large
        in_largest = through_root(in_root, root, scale, slot_cotangents.get("max_exp_avg_sq"))
        in_second = newer.mul_(in_largest)
        in_largest.sub_(in_second)
        return add_present(in_second, held), {"max_exp_avg_sq": in_largest}
