"""The tangent d theta / d log lr, carried along a whole training by hand: one Hessian product a step."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rivals.direction import adam_denominator, adam_ratio, corrections, directions

Slots = dict[str, Tensor]


class Tangent:
    """How the parameters would differ had the logarithm of every learning rate so far been larger.

    Independent of `ray_glocal.hypergradient`, whose forward engine it is checked against.

    Args:
        optimizer: SGD with momentum or AdamW, fresh, with one parameter group.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        (self.group,) = optimizer.param_groups
        self.optimizer = optimizer
        self.parameters: list[Tensor] = list(self.group["params"])
        self.reset()

    def reset(self) -> None:
        """Nothing depends on the learning rate: the state at the start."""
        self.moved = [torch.zeros_like(p) for p in self.parameters]
        names = ("momentum_buffer",) if self._is_sgd else ("exp_avg", "exp_avg_sq")
        self.slots: list[Slots] = [{name: torch.zeros_like(p) for name in names} for p in self.parameters]

    @property
    def _is_sgd(self) -> bool:
        return isinstance(self.optimizer, torch.optim.SGD)

    def differentiate(self, loss: Tensor) -> list[Tensor]:
        """Leave the gradient of a training loss in the parameters; the gradient's tangent."""
        gradients = torch.autograd.grad(loss, self.parameters, create_graph=True)
        turned = torch.autograd.grad(gradients, self.parameters, self.moved)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.detach()
        return list(turned)

    @torch.no_grad()
    def follow(self, turned: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        """Carry the tangent over the step that the optimizer has just taken.

        Args:
            turned: The gradient's tangent.
            before: Parameters before the step.
        """
        push = self._push_sgd if self._is_sgd else self._push_adamw
        straight = directions(self.optimizer, before)
        for i, direction in enumerate(straight):
            self.moved[i] = push(i, turned[i]) - self.group["lr"] * direction

    def _push_sgd(self, index: int, turned: Tensor) -> Tensor:
        moved, slots = self.moved[index], self.slots[index]
        turned = turned + self.group["weight_decay"] * moved
        slots["momentum_buffer"] = self.group["momentum"] * slots["momentum_buffer"] + turned
        return moved - self.group["lr"] * slots["momentum_buffer"]

    def _push_adamw(self, index: int, turned: Tensor) -> Tensor:
        parameter, slots, group = self.parameters[index], self.slots[index], self.group
        state, (beta1, beta2) = self.optimizer.state[parameter], group["betas"]
        first, second = corrections(state, group)
        slots["exp_avg"] = beta1 * slots["exp_avg"] + (1 - beta1) * turned
        slots["exp_avg_sq"] = beta2 * slots["exp_avg_sq"] + 2 * (1 - beta2) * parameter.grad * turned
        root = 2 * math.sqrt(second) * state["exp_avg_sq"].sqrt()
        # Where no gradient was ever seen the root has no derivative, and the parameter none to be moved by.
        widened = torch.where(root > 0, slots["exp_avg_sq"] / root, 0.0)
        denominator = adam_denominator(state, group)
        ratio = slots["exp_avg"] / first / denominator - adam_ratio(state, group) * widened / denominator
        return self.moved[index] * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * ratio

    def along(self, gradient: Sequence[Tensor]) -> float:
        """Derivative in log lr of what has this gradient in the parameters."""
        return float(sum((g * m).sum() for g, m in zip(gradient, self.moved, strict=True)))
