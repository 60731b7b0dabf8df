"""What users hang onto a training loop: hooks, clamps, penalties, second optimizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from .around_models import first_weight, last_layer
from .loops import Loop

Wrapper = Callable[[Loop], None]


def _lossy(loop: Loop, changed: Callable[[Callable[[], Tensor], nn.Module, Any], Tensor]) -> None:
    """Put something around the training loss, whether it reads hyperparameters or not."""
    inner = loop.train_loss
    if loop.reads:
        loop.train_loss = lambda model, batch, hyper: changed(lambda: inner(model, batch, hyper), model, batch)
    else:
        loop.train_loss = lambda model, batch: changed(lambda: inner(model, batch), model, batch)


def tensor_hook(loop: Loop) -> None:
    """A hook of a parameter's that halves its gradient."""
    first_weight(loop.model).register_hook(lambda gradient: 0.5 * gradient)


def clamping_hook(loop: Loop) -> None:
    """A hook that clamps a gradient."""
    first_weight(loop.model).register_hook(lambda gradient: gradient.clamp(-0.02, 0.02))


def watching_hook(loop: Loop) -> None:
    """A hook that looks."""
    seen: list[float] = []
    first_weight(loop.model).register_hook(lambda gradient: seen.append(float(gradient.detach().norm())))


def late_hook(loop: Loop) -> None:
    """A hook that comes after three steps."""
    parameter, steps = first_weight(loop.model), [0]

    def after() -> None:
        steps[0] += 1
        if steps[0] == 3:
            parameter.register_hook(lambda gradient: 0.5 * gradient)

    loop.after.append(after)


def watching_post_hook(loop: Loop) -> None:
    """A post-accumulate hook that looks."""
    seen: list[float] = []
    for parameter in loop.model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: seen.append(float(p.grad.norm())))


def clamping_post_hook(loop: Loop) -> None:
    """A post-accumulate hook that clamps."""

    def clamp(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.clamp_(-0.02, 0.02)

    first_weight(loop.model).register_post_accumulate_grad_hook(clamp)


def optimizer_hooks(loop: Loop) -> None:
    """Hooks before and after the optimizer's step that count."""
    counts = {"before": 0, "after": 0}

    def count(name: str) -> Callable[..., None]:
        def counted(*_: Any) -> None:
            counts[name] += 1

        return counted

    loop.optimizer.register_step_pre_hook(count("before"))
    loop.optimizer.register_step_post_hook(count("after"))


def clipping_pre_hook(loop: Loop) -> None:
    """Gradients clipped by a hook of the optimizer's."""
    parameters = [p for p in loop.model.parameters() if p.requires_grad]
    loop.optimizer.register_step_pre_hook(lambda *_: clip_grad_norm_(parameters, 0.05) and None)


def clamping_step_hook(loop: Loop) -> None:
    """Weights clamped by a hook of the optimizer's."""
    parameter = first_weight(loop.model)

    def clamp(*_: Any) -> None:
        with torch.no_grad():
            parameter.clamp_(-0.3, 0.3)

    loop.optimizer.register_step_post_hook(clamp)


def written_batch(loop: Loop) -> None:
    """The loss writes into its batch."""

    def scaled(loss: Callable[[], Tensor], model: nn.Module, batch: dict[str, Any]) -> Tensor:
        if batch["x"].is_floating_point():
            batch["x"].mul_(0.5)
        else:
            batch["x"].add_(1).remainder_(7)
        return loss()

    _lossy(loop, scaled)


def popped_batch(loop: Loop) -> None:
    """The loss pops from its batch."""
    _lossy(loop, lambda loss, model, batch: batch.pop("weight") * loss())


def reused_buffer(loop: Loop) -> None:
    """One batch for ever, that the loader refills."""
    fetch, kept = loop.batch, {}

    def batch(step: int) -> dict[str, Any]:
        for name, value in fetch(step).items():
            if name in kept and isinstance(value, Tensor):
                kept[name].copy_(value)
            else:
                kept[name] = value
        return kept

    loop.batch = batch


def listed_penalty(loop: Loop) -> None:
    """A penalty on parameters that are held in a list: zero at first."""
    held = [p for p in loop.model.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in held]
    _lossy(
        loop,
        lambda loss, model, batch: loss() + 0.3 * sum(((p - q) ** 2).sum() for p, q in zip(held, start, strict=True)),
    )


def global_penalty(loop: Loop) -> None:
    """An L2 penalty on one parameter in a closure."""
    parameter = first_weight(loop.model)
    _lossy(loop, lambda loss, model, batch: loss() + 0.1 * parameter.square().mean())


def counted_loss(loop: Loop) -> None:
    """A loss whose closure counts: its weight falls."""
    count = [0]

    def changed(loss: Callable[[], Tensor], model: nn.Module, batch: Any) -> Tensor:
        count[0] += 1
        return loss() * (1 + 1 / count[0])

    _lossy(loop, changed)


def nonlocal_loss(loop: Loop) -> None:
    """The same by a nonlocal number."""
    count = 0

    def changed(loss: Callable[[], Tensor], model: nn.Module, batch: Any) -> Tensor:
        nonlocal count
        count += 1
        return loss() * (1 + 1 / count)

    _lossy(loop, changed)


def augmented(loop: Loop) -> None:
    """Augmentation by a generator in the loss's closure."""
    generator = torch.Generator().manual_seed(3)

    def changed(loss: Callable[[], Tensor], model: nn.Module, batch: dict[str, Any]) -> Tensor:
        return loss() * (1 + 0.5 * torch.rand((), generator=generator))

    _lossy(loop, changed)


def augmented_by_numpy(loop: Loop) -> None:
    """The same by NumPy's."""
    rng = np.random.default_rng(3)
    _lossy(loop, lambda loss, model, batch: loss() * (1 + 0.5 * rng.random()))


def normalised_by_average(loop: Loop) -> None:
    """A loss over its own running average, which is detached."""
    average: dict[str, Tensor] = {}

    def changed(loss: Callable[[], Tensor], model: nn.Module, batch: Any) -> Tensor:
        value = loss()
        average["loss"] = 0.8 * average.get("loss", value.detach()) + 0.2 * value.detach()
        return value / (average["loss"] + 0.5)

    _lossy(loop, changed)


def logged(loop: Loop) -> None:
    """A loss that keeps its values."""
    values: list[float] = []

    def changed(loss: Callable[[], Tensor], model: nn.Module, batch: Any) -> Tensor:
        value = loss()
        values.append(float(value.detach()))
        return value

    _lossy(loop, changed)


def clamped(loop: Loop) -> None:
    """Weights clamped after the step."""
    parameter = first_weight(loop.model)

    def clamp() -> None:
        with torch.no_grad():
            parameter.clamp_(-0.3, 0.3)

    loop.after.append(clamp)


def idly_clamped(loop: Loop) -> None:
    """Weights clamped far away: nothing happens."""
    parameter = first_weight(loop.model)

    def clamp() -> None:
        with torch.no_grad():
            parameter.clamp_(-1e6, 1e6)

    loop.after.append(clamp)


def renormalised(loop: Loop) -> None:
    """Weights scaled back to a length, by way of `.data`."""
    parameter = first_weight(loop.model)
    length = float(parameter.detach().norm())

    def renormalise() -> None:
        parameter.data.mul_(length / parameter.data.norm())

    loop.after.append(renormalise)


def replaced_data(loop: Loop) -> None:
    """Weights replaced by way of `.data`, which no version counter sees."""
    parameter = first_weight(loop.model)

    def replace() -> None:
        parameter.data = 0.98 * parameter.data

    loop.after.append(replace)


def weight_noise(loop: Loop) -> None:
    """Noise on weights after the step."""
    parameter = first_weight(loop.model)
    generator = torch.Generator().manual_seed(5)

    def shake() -> None:
        with torch.no_grad():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))

    loop.after.append(shake)


def thawing(loop: Loop) -> None:
    """A parameter trains from the fourth step on."""
    parameter, steps = first_weight(loop.model), [0]
    parameter.requires_grad_(False)

    def after() -> None:
        steps[0] += 1
        if steps[0] == 3:
            parameter.requires_grad_(True)

    loop.after.append(after)


def freezing(loop: Loop) -> None:
    """A parameter stops after three steps."""
    parameter, steps = first_weight(loop.model), [0]

    def after() -> None:
        steps[0] += 1
        if steps[0] == 3:
            parameter.requires_grad_(False)
            parameter.grad = None

    loop.after.append(after)


def second_optimizer(loop: Loop) -> None:
    """The last bias is another optimizer's."""
    bias = last_layer(loop.model).bias
    for group in loop.optimizer.param_groups:
        group["params"] = [p for p in group["params"] if p is not bias]
    other = torch.optim.SGD([bias], 0.05, momentum=0.5)
    loop.after.append(lambda: (other.step(), other.zero_grad()))


def second_loss(loop: Loop) -> None:
    """A step more after each step, by another optimizer on the same parameters."""
    parameter = first_weight(loop.model)
    other = torch.optim.SGD([parameter], 0.02)

    def after() -> None:
        (gradient,) = torch.autograd.grad(parameter.square().mean(), [parameter])
        before, parameter.grad = parameter.grad, gradient
        other.step()
        parameter.grad = before

    loop.after.append(after)


def averaged_beside(loop: Loop) -> None:
    """An average of the weights, kept by the loop."""
    held = [p for p in loop.model.parameters() if p.requires_grad]
    loop.held += [p.detach().clone() for p in held]
    kept = loop.held[-len(held) :]

    def after() -> None:
        with torch.no_grad():
            for old, new in zip(kept, held, strict=True):
                old.lerp_(new, 0.1)

    loop.after.append(after)


def option_by_hand(loop: Loop) -> None:
    """An option that nobody adapts changes by hand halfway."""
    steps = [0]

    def after() -> None:
        steps[0] += 1
        if steps[0] == 4:
            for group in loop.optimizer.param_groups:
                name = "eps" if "eps" in group else "dampening"
                group[name] = 2 * group[name] + 0.1 * (name == "dampening")

    loop.after.append(after)


def evaluated_beside(loop: Loop) -> None:
    """Accuracy after each step, in eval mode."""
    batch = loop.val_batches[0]

    def after() -> None:
        loop.model.eval()
        with torch.no_grad():
            loop.model(batch["x"])
        loop.model.train()

    loop.after.append(after)


LOOPS: Mapping[str, Wrapper] = {
    "a hook that halves": tensor_hook,
    "a hook that clamps": clamping_hook,
    "a hook that looks": watching_hook,
    "a late hook": late_hook,
    "post-accumulate hooks that look": watching_post_hook,
    "a post-accumulate hook that clamps": clamping_post_hook,
    "optimizer hooks that count": optimizer_hooks,
    "an optimizer hook that clips": clipping_pre_hook,
    "an optimizer hook that clamps": clamping_step_hook,
    "a loss that writes into its batch": written_batch,
    "a loss that pops from its batch": popped_batch,
    "a batch that is refilled": reused_buffer,
    "a penalty on a list": listed_penalty,
    "a penalty in a closure": global_penalty,
    "a loss that counts": counted_loss,
    "a loss that counts by nonlocal": nonlocal_loss,
    "augmentation by a generator": augmented,
    "augmentation by NumPy": augmented_by_numpy,
    "a loss over its average": normalised_by_average,
    "a loss that keeps its values": logged,
    "a clamp": clamped,
    "a clamp far away": idly_clamped,
    "renormalised weights": renormalised,
    "replaced data": replaced_data,
    "noise on weights": weight_noise,
    "thawing": thawing,
    "freezing": freezing,
    "a second optimizer": second_optimizer,
    "a second loss": second_loss,
    "averaged weights beside": averaged_beside,
    "an option by hand": option_by_hand,
    "evaluation beside": evaluated_beside,
}
