"""What users hang onto a training loop: hooks, ties, buffers, counters, generators, clamps, second optimizers.

A wrapper of the model changes it before the optimizer is built; one of the loop changes the finished loop.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from .loops import Loop

Wrapper = Callable[[Loop], None]


class Around(nn.Module):
    """A model with something around it; what it holds is told when it is made."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)


def _first(model: nn.Module) -> nn.Parameter:
    return max((p for p in model.parameters() if p.requires_grad), key=lambda p: p.ndim >= 2)


def _last(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


# ---- of the model ----


class Tied(Around):
    """Adds a second reading of its last layer's weights."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        last = _last(inner)
        self.again = nn.Linear(3, last.in_features, bias=False)
        self.again.weight = nn.Parameter(last.weight.detach().t().clone())
        self.tied = last  # the same module in two places

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return out + 0.2 * self.tied(self.again(out))


class CountingBuffer(Around):
    """A buffer that counts, and scales what comes out while it trains."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count += 1
        return self.inner(x) * (1 + 0.1 * torch.sin(self.count.to(torch.float64))).to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        return _last(self.inner).weight.dtype


class ReplacedBuffer(CountingBuffer):
    """The same, with a new tensor at each call."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.count = self.count + 1
        return self.inner(x) * (1 + 0.1 * torch.sin(self.count.to(torch.float64))).to(self.dtype)


class Counter(Around):
    """A Python number that counts training calls and scales noise."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.inner(x)
        self.calls += 1
        out = self.inner(x)
        return out + 0.2 / self.calls * torch.randn_like(out)


class CountingAlways(Around):
    """A Python number that counts every call, validation's too, and is read in training."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out = self.inner(x)
        return out * (1 + 0.3 / self.calls) if self.training else out


class TorchNoise(Around):
    """Noise by a torch generator of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.generator = torch.Generator().manual_seed(7)

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        if not self.training:
            return out
        return out + 0.2 * torch.randn(out.shape, generator=self.generator, dtype=out.dtype)


class NumpyNoise(Around):
    """Noise by a NumPy generator of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.rng = np.random.default_rng(7)

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return out + 0.2 * torch.from_numpy(self.rng.standard_normal(out.shape)).to(out) if self.training else out


class PythonNoise(Around):
    """Noise by a Python generator of its own, in a list in a dict."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.held = {"generators": [random.Random(7)]}

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return out * (1 + 0.3 * self.held["generators"][0].random()) if self.training else out


class Teacher(Around):
    """A copy that follows by an exponential average, in the forward pass, and that the output leans on."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.teacher = copy.deepcopy(inner)
        self.teacher.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                for old, new in zip(self.teacher.parameters(), self.inner.parameters(), strict=True):
                    old.lerp_(new, 0.2)
        with torch.no_grad():
            wanted = self.teacher(x)
        return self.inner(x) + 0.2 * wanted.tanh()


class SilentTeacher(Teacher):
    """The same average, that nothing reads."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                for old, new in zip(self.teacher.parameters(), self.inner.parameters(), strict=True):
                    old.lerp_(new, 0.2)
        return self.inner(x)


class StraightThrough(Around):
    """Rounds while it trains, and lets gradients pass."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        if not self.training:
            return out
        return out + ((4 * out).round() / 4 - out).detach()


class StopGradient(Around):
    """An output over its own length, which is detached."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.inner(x)
        return 2 * out / (1 + out.detach().norm(dim=-1, keepdim=True))


class Spectator(Around):
    """Keeps its last output, as debugging code does."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = self.inner(x)
        return self.seen


class Frozen(Around):
    """Its first parameters do not train."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        _first(inner).requires_grad_(False)


class ForwardHooked(Around):
    """Forward hooks: one observes, one changes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.norms: list[float] = []
        inner.register_forward_hook(lambda module, args, out: self.norms.append(float(out.detach().norm())))
        _last(inner).register_forward_hook(lambda module, args, out: out + 0.1 * out.sin())


class PreHooked(Around):
    """A forward pre-hook with noise."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        _last(inner).register_forward_pre_hook(_noisy)


def _noisy(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0] + 0.1 * torch.randn_like(args[0]), *args[1:]) if module.training else args


class BackwardHooked(Around):
    """A full backward hook that scales what goes back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        _last(inner).register_full_backward_hook(
            lambda module, into, out: tuple(g if g is None else 0.7 * g for g in into)
        )


MODELS: Mapping[str, Callable[[nn.Module], nn.Module]] = {
    "tied weights": Tied,
    "a buffer that counts": CountingBuffer,
    "a buffer that is replaced": ReplacedBuffer,
    "a counter": Counter,
    "a counter of every call": CountingAlways,
    "a torch generator": TorchNoise,
    "a NumPy generator": NumpyNoise,
    "a Python generator": PythonNoise,
    "a teacher updated in forward": Teacher,
    "an average that nothing reads": SilentTeacher,
    "straight through": StraightThrough,
    "a detached length": StopGradient,
    "an output kept": Spectator,
    "frozen parameters": Frozen,
    "forward hooks": ForwardHooked,
    "a forward pre-hook": PreHooked,
    "a backward hook": BackwardHooked,
}


# ---- of the loop ----


def _lossy(loop: Loop, changed: Callable[[Callable[[], Tensor], nn.Module, Any], Tensor]) -> None:
    """Put something around the training loss, whether it reads hyperparameters or not."""
    inner = loop.train_loss
    if loop.reads:
        loop.train_loss = lambda model, batch, hyper: changed(lambda: inner(model, batch, hyper), model, batch)
    else:
        loop.train_loss = lambda model, batch: changed(lambda: inner(model, batch), model, batch)


def tensor_hook(loop: Loop) -> None:
    """A hook of a parameter's that halves its gradient."""
    _first(loop.model).register_hook(lambda gradient: 0.5 * gradient)


def clamping_hook(loop: Loop) -> None:
    """A hook that clamps a gradient."""
    _first(loop.model).register_hook(lambda gradient: gradient.clamp(-0.02, 0.02))


def watching_hook(loop: Loop) -> None:
    """A hook that looks."""
    seen: list[float] = []
    _first(loop.model).register_hook(lambda gradient: seen.append(float(gradient.detach().norm())))


def late_hook(loop: Loop) -> None:
    """A hook that comes after three steps."""
    parameter, steps = _first(loop.model), [0]

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

    _first(loop.model).register_post_accumulate_grad_hook(clamp)


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
    parameter = _first(loop.model)

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
    parameter = _first(loop.model)
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
    parameter = _first(loop.model)

    def clamp() -> None:
        with torch.no_grad():
            parameter.clamp_(-0.3, 0.3)

    loop.after.append(clamp)


def idly_clamped(loop: Loop) -> None:
    """Weights clamped far away: nothing happens."""
    parameter = _first(loop.model)

    def clamp() -> None:
        with torch.no_grad():
            parameter.clamp_(-1e6, 1e6)

    loop.after.append(clamp)


def renormalised(loop: Loop) -> None:
    """Weights scaled back to a length, by way of `.data`."""
    parameter = _first(loop.model)
    length = float(parameter.detach().norm())

    def renormalise() -> None:
        parameter.data.mul_(length / parameter.data.norm())

    loop.after.append(renormalise)


def replaced_data(loop: Loop) -> None:
    """Weights replaced by way of `.data`, which no version counter sees."""
    parameter = _first(loop.model)

    def replace() -> None:
        parameter.data = 0.98 * parameter.data

    loop.after.append(replace)


def weight_noise(loop: Loop) -> None:
    """Noise on weights after the step."""
    parameter = _first(loop.model)
    generator = torch.Generator().manual_seed(5)

    def shake() -> None:
        with torch.no_grad():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))

    loop.after.append(shake)


def thawing(loop: Loop) -> None:
    """A parameter trains from the fourth step on."""
    parameter, steps = _first(loop.model), [0]
    parameter.requires_grad_(False)

    def after() -> None:
        steps[0] += 1
        if steps[0] == 3:
            parameter.requires_grad_(True)

    loop.after.append(after)


def freezing(loop: Loop) -> None:
    """A parameter stops after three steps."""
    parameter, steps = _first(loop.model), [0]

    def after() -> None:
        steps[0] += 1
        if steps[0] == 3:
            parameter.requires_grad_(False)
            parameter.grad = None

    loop.after.append(after)


def second_optimizer(loop: Loop) -> None:
    """The last bias is another optimizer's."""
    bias = _last(loop.model).bias
    for group in loop.optimizer.param_groups:
        group["params"] = [p for p in group["params"] if p is not bias]
    other = torch.optim.SGD([bias], 0.05, momentum=0.5)
    loop.after.append(lambda: (other.step(), other.zero_grad()))


def second_loss(loop: Loop) -> None:
    """A step more after each step, by another optimizer on the same parameters."""
    parameter = _first(loop.model)
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

# A session must follow these: neither words nor a refusal is called for.
FOLLOWED = frozenset(
    {
        "tied weights",
        "a buffer that counts",
        "a buffer that is replaced",
        "a counter",
        "a counter of every call",
        "a torch generator",
        "a NumPy generator",
        "a Python generator",
        "an output kept",
        "frozen parameters",
        "forward hooks",
        "a forward pre-hook",
        "a hook that looks",
        "post-accumulate hooks that look",
        "optimizer hooks that count",
        "a loss that writes into its batch",
        "a loss that pops from its batch",
        "a batch that is refilled",
        "a penalty on a list",
        "a penalty in a closure",
        "a loss that counts",
        "a loss that counts by nonlocal",
        "augmentation by a generator",
        "augmentation by NumPy",
        "a loss that keeps its values",
        "a clamp far away",
        "averaged weights beside",
        "evaluation beside",
    }
)
