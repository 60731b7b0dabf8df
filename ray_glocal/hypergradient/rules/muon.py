"""Muon, as `torch.optim.Muon`."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.rules.rule import Options, Pulled, Slots, Update, add_scaled, dot, mix


@dataclass(frozen=True)
class MuonRule:
    """Update rule of `torch.optim.Muon`, for one matrix in its own shape.

    The step is orthogonalised in bfloat16, as torch does it. Rounding has no derivative; taken is that of the same
    operations in the parameter's own precision (single for half), at the same matrix.
    """

    elementwise: bool = False
    fields: tuple[str, ...] = ("lr", "momentum", "weight_decay")
    aliases: Mapping[str, str] = field(default_factory=dict)

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        names = ("nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")
        return {name: group[name] for name in (*self.fields, *names)}

    def write(self, group: dict[str, Any], field: str, value: float) -> None:
        group[field] = value

    def read(self, parameter: Tensor, state: Mapping[str, Any], options: Options) -> tuple[Slots, int]:
        if parameter.dtype == torch.bfloat16 and not options["nesterov"]:
            remedy = "There torch normalises the momentum buffer itself, in place, instead of a copy of it."
            raise ArgumentError("nesterov", "be on for parameters in bfloat16", options["nesterov"], remedy)
        return {"momentum_buffer": state["momentum_buffer"] if state else torch.zeros_like(parameter)}, 0

    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Mapping[str, Tensor], step: int, options: Options
    ) -> tuple[Tensor, Slots]:
        lr, momentum = options["lr"], options["momentum"]
        buffer = mix(slots["momentum_buffer"], gradient, 1 - momentum)
        direction = mix(gradient, buffer, momentum) if options["nesterov"] else buffer
        smooth = orthogonalised(direction, _precise(direction), options).to(parameter.dtype)
        rounded = orthogonalised(direction.detach(), torch.bfloat16, options).to(parameter.dtype)
        turned = rounded + (smooth - smooth.detach())  # the value of the one, the derivative of the other
        parameter = parameter * (1 - lr * options["weight_decay"])
        return add_scaled(parameter, turned, -lr * _ratio(parameter, options)), {"momentum_buffer": buffer}

    def pull_back(
        self, taken: Update, wanted: Collection[str], cotangent: Tensor, slot_cotangents: Mapping[str, Tensor]
    ) -> Pulled:
        parameter, gradient, options = taken.parameter, taken.gradient, taken.options
        lr, momentum, decay = (float(options[name]) for name in ("lr", "momentum", "weight_decay"))
        ratio, held = _ratio(parameter, options), taken.slots["momentum_buffer"]
        buffer = torch.lerp(held, gradient, 1 - momentum)
        direction = torch.lerp(gradient, buffer, momentum) if options["nesterov"] else buffer
        in_direction = _pull_back_orthogonal(direction, cotangent * (-lr * ratio), options)
        in_buffer = in_direction * momentum if options["nesterov"] else in_direction
        if (in_slot := slot_cotangents.get("momentum_buffer")) is not None:
            in_buffer = in_buffer + in_slot
        in_gradient = in_buffer * (1 - momentum)
        if options["nesterov"]:
            in_gradient.add_(in_direction, alpha=1 - momentum)

        def derivative(field: str) -> Tensor:
            if field == "weight_decay":
                return dot(cotangent, parameter) * -lr
            if field == "momentum":
                through = dot(in_buffer, held - gradient)
                return through + dot(in_direction, buffer - gradient) if options["nesterov"] else through
            turned = orthogonalised(direction, torch.bfloat16, options).to(parameter.dtype)
            return -(ratio * dot(cotangent, turned) + decay * dot(cotangent, parameter))

        before: Slots = {"momentum_buffer": in_buffer * momentum}
        found = {field: derivative(field) for field in wanted}
        return Pulled(cotangent.mul_(1 - lr * decay), in_gradient, before, found)


def orthogonalised(matrix: Tensor, precision: torch.dtype, options: Options) -> Tensor:
    """Nearly the orthogonal factor of a matrix [m, n], by Newton-Schulz iterations in a precision.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; operations and their order
    are torch's.
    """
    a, b, c = options["ns_coefficients"]
    tall = matrix.shape[-2] > matrix.shape[-1]
    turned = matrix.to(precision)
    turned = turned.mT if tall else turned
    turned = turned / turned.norm().clamp(min=options["eps"])
    for _ in range(options["ns_steps"]):
        gram = turned @ turned.mT
        turned = torch.addmm(turned, torch.addmm(gram, gram, gram, beta=b, alpha=c), turned, beta=a)
    return turned.mT if tall else turned


def _pull_back_orthogonal(matrix: Tensor, cotangent: Tensor, options: Options) -> Tensor:
    """Pull a cotangent back through `orthogonalised`, by autograd of its operations in full precision."""
    precision = _precise(matrix)
    with torch.enable_grad():
        leaf = matrix.detach().to(precision).requires_grad_()
        turned = orthogonalised(leaf, precision, options)
    (found,) = torch.autograd.grad(turned, leaf, cotangent.to(precision))
    return found.to(matrix.dtype)


def _precise(matrix: Tensor) -> torch.dtype:
    """Precision of the derivative."""
    return torch.promote_types(matrix.dtype, torch.float32)


def _ratio(parameter: Tensor, options: Options) -> float:
    """What the learning rate is multiplied by for a matrix [m, n]."""
    rows, columns = parameter.shape[-2:]
    if options["adjust_lr_fn"] == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))
