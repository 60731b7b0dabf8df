"""What users put around a model: ties, buffers, counters, generators, hooks."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Around(nn.Module):
    """A model with something around it; what it holds is told when it is made."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)


def first_weight(model: nn.Module) -> nn.Parameter:
    return max((p for p in model.parameters() if p.requires_grad), key=lambda p: p.ndim >= 2)


def last_layer(model: nn.Module) -> nn.Linear:
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


class Tied(Around):
    """Adds a second reading of its last layer's weights."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        last = last_layer(inner)
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
        return last_layer(self.inner).weight.dtype


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
        first_weight(inner).requires_grad_(False)


class ForwardHooked(Around):
    """Forward hooks: one observes, one changes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.norms: list[float] = []
        inner.register_forward_hook(lambda module, args, out: self.norms.append(float(out.detach().norm())))
        last_layer(inner).register_forward_hook(lambda module, args, out: out + 0.1 * out.sin())


class PreHooked(Around):
    """A forward pre-hook with noise."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        last_layer(inner).register_forward_pre_hook(_noisy)


def _noisy(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return (args[0] + 0.1 * torch.randn_like(args[0]), *args[1:]) if module.training else args


class BackwardHooked(Around):
    """A full backward hook that scales what goes back."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        last_layer(inner).register_full_backward_hook(
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
