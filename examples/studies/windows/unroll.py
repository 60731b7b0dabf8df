"""The window as one autograd graph, by hand: every step's update is written out and differentiated at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from ray_glocal.hypergradient import Problem

Held = dict[str, Tensor]


def sgd(weight: Tensor, gradient: Tensor, held: Held, option: Mapping[str, Any], step: int) -> tuple[Tensor, Held]:
    """As `torch.optim.SGD` with momentum, undampened."""
    gradient = gradient + option["weight_decay"] * weight
    buffer = option["momentum"] * held["buffer"] + gradient if held else gradient
    return weight - option["lr"] * buffer, {"buffer": buffer}


def adamw(weight: Tensor, gradient: Tensor, held: Held, option: Mapping[str, Any], step: int) -> tuple[Tensor, Held]:
    """As `torch.optim.AdamW`."""
    first, second = option["momentum"], option["betas"][1]
    zero = torch.zeros_like(weight)
    mean = first * held.get("mean", zero) + (1 - first) * gradient
    square = second * held.get("square", zero) + (1 - second) * gradient * gradient
    scale = (square / (1 - second**step)).sqrt() + option["eps"]
    weight = weight * (1 - option["lr"] * option["weight_decay"])
    return weight - option["lr"] / (1 - first**step) * mean / scale, {"mean": mean, "square": square}


UPDATES = {torch.optim.SGD: sgd, torch.optim.AdamW: adamw}


def unrolled(problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Tensor:
    """Local hypergradient [q] of a window from a fresh optimizer, its graph held from the first step to the last.

    Only what the graph needs is referred to: no gradient, loss or buffer of an earlier step is held beside it.
    """
    hyper = leaves(problem)
    update, group = UPDATES[type(problem.optimizer)], problem.optimizer.param_groups[0]
    option = {"momentum": group["betas"][0] if "betas" in group else None, **group, **hyper}
    weights = {name: p.detach().clone().requires_grad_() for name, p in problem.model.named_parameters()}
    held: dict[str, Held] = {name: {} for name in weights}
    for step, batch in enumerate(batches, 1):
        loss = problem.train_loss(_call(problem, weights), batch, *_read(problem, hyper))
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        for name, gradient in zip(list(weights), gradients, strict=True):
            weights[name], held[name] = update(weights[name], gradient, held[name], option, step)
        del loss, gradients
    losses = [problem.val_loss(_call(problem, weights), batch) for batch in val]
    return joined(torch.autograd.grad(torch.stack(losses).mean(), list(hyper.values())))


def leaves(problem: Problem) -> dict[str, Tensor]:
    """The hyperparameters as leaves of a graph, in the precision of the parameters and with their shapes."""
    like = problem.parameters[0]
    told = {hyper.name: hyper.value for hyper in problem.hyperparameters}
    return {n: v.squeeze().to(like.device, like.dtype, copy=True).requires_grad_() for n, v in told.items()}


def joined(found: Sequence[Tensor]) -> Tensor:
    """Derivatives [q], float64 on the CPU."""
    return torch.cat([derivative.detach().flatten() for derivative in found]).double().cpu()


def _call(problem: Problem, weights: Mapping[str, Tensor]) -> Any:
    return lambda inputs: functional_call(problem.model, dict(weights), (inputs,))


def _read(problem: Problem, hyper: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], ...]:
    return (hyper,) if any(binding.field is None for binding in problem.bindings) else ()
