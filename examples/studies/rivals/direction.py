"""The direction u of an inner step, theta' = theta - lr u: minus the step's own derivative in the learning rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def directions(optimizer: torch.optim.Optimizer, before: Sequence[Tensor]) -> list[Tensor]:
    """Directions of the step just taken by SGD with momentum or by AdamW.

    Args:
        optimizer: After the step; one parameter group.
        before: Parameters before it, on which decoupled weight decay acts.
    """
    (group,) = optimizer.param_groups
    states = [optimizer.state[p] for p in group["params"]]
    if isinstance(optimizer, torch.optim.SGD):
        return [state["momentum_buffer"] for state in states]
    decay = group["weight_decay"]
    return [adam_ratio(state, group) + decay * p for state, p in zip(states, before, strict=True)]


def adam_ratio(state: Mapping[str, Tensor], group: Mapping[str, Any]) -> Tensor:
    """Adam's bias-corrected first moment over its denominator."""
    first, _ = corrections(state, group)
    return state["exp_avg"] / first / adam_denominator(state, group)


def adam_denominator(state: Mapping[str, Tensor], group: Mapping[str, Any]) -> Tensor:
    """Root of the bias-corrected second moment, plus eps."""
    _, second = corrections(state, group)
    return state["exp_avg_sq"].sqrt() / math.sqrt(second) + group["eps"]


def corrections(state: Mapping[str, Tensor], group: Mapping[str, Any]) -> tuple[float, float]:
    """Adam's bias corrections of the first and the second moment."""
    step, (beta1, beta2) = float(state["step"]), group["betas"]
    return 1 - beta1**step, 1 - beta2**step


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """One vector of all entries."""
    return torch.cat([tensor.flatten() for tensor in tensors])
