"""Hooks of tensors, modules and optimizers, there from the start or hung on later."""

from __future__ import annotations

import torch

from ..fuzz import wrappers
from ..fuzz.loops import Loop
from .networks import looped, mlp


def hung(name: str):
    def build() -> Loop:
        loop = looped(mlp())
        wrappers.LOOPS[name](loop)
        return loop

    return build


def around(name: str):
    return lambda: looped(wrappers.MODELS[name](mlp()).double())


def late_post_hook() -> Loop:
    model, steps = mlp(), [0]

    def halve(parameter):
        parameter.grad.mul_(0.5)

    def after():
        steps[0] += 1
        if steps[0] == 4:
            model[0].weight.register_post_accumulate_grad_hook(halve)

    return looped(model, after=[after])


def late_forward_hook() -> Loop:
    model, steps = mlp(), [0]

    def after():
        steps[0] += 1
        if steps[0] == 4:
            model[0].register_forward_hook(lambda module, args, out: 0.5 * out)

    return looped(model, after=[after])


def removed_hook() -> Loop:
    model, steps = mlp(), [0]
    handle = model[0].weight.register_hook(lambda gradient: 0.5 * gradient)

    def after():
        steps[0] += 1
        if steps[0] == 4:
            handle.remove()

    return looped(model, after=[after])


def noisy_post_hook() -> Loop:
    """Differentially private training."""
    model = mlp()

    def shake(parameter):
        parameter.grad.add_(0.02 * torch.randn_like(parameter.grad))

    model[0].weight.register_post_accumulate_grad_hook(shake)
    return looped(model)


def detaching_hook() -> Loop:
    """A hook that computes with numbers: no derivative passes."""
    model = mlp()
    model[0].weight.register_hook(lambda g: g / (0.1 + float(g.detach().norm())))
    return looped(model)


def hook_of_an_inner_tensor() -> Loop:
    model = mlp()

    def train(m, b):
        hidden = m[0](b[0])
        hidden.register_hook(lambda gradient: gradient * 0.5)
        return torch.nn.functional.cross_entropy(m[2](hidden.tanh()), b[1])

    return looped(model, train)


FOLLOWED = {
    name: hung(name) for name in ("a hook that looks", "post-accumulate hooks that look", "optimizer hooks that count")
}
FOLLOWED |= {name: around(name) for name in ("forward hooks", "a forward pre-hook")}
EITHER = {
    name: hung(name)
    for name in (
        "a hook that halves",
        "a hook that clamps",
        "a late hook",
        "a post-accumulate hook that clamps",
        "an optimizer hook that clips",
        "an optimizer hook that clamps",
    )
}
EITHER |= {
    "a backward hook": around("a backward hook"),
    "a late post-accumulate hook": late_post_hook,
    "a late forward hook": late_forward_hook,
    "a hook removed": removed_hook,
    "a post-accumulate hook with noise": noisy_post_hook,
    "a hook that detaches": detaching_hook,
    "a hook of an inner tensor": hook_of_an_inner_tensor,
}
