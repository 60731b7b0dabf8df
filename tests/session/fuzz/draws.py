"""`draw(seed)`: one random training loop, everything of it built anew from its seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ray_glocal import Hyperparameter

from . import losses, models, wrappers
from .loops import Loop, Trial, rate, unrounded

Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

# Each with its learning rate.
OPTIMIZERS: Mapping[str, tuple[float, Optimizer]] = {
    "SGD": (0.1, lambda p: torch.optim.SGD(p, 0.1)),
    "SGD with momentum": (0.05, lambda p: torch.optim.SGD(p, 0.05, momentum=0.7)),
    "SGD, dampened": (0.08, lambda p: torch.optim.SGD(p, 0.08, momentum=0.6, dampening=0.2, weight_decay=0.01)),
    "SGD of Nesterov": (0.05, lambda p: torch.optim.SGD(p, 0.05, momentum=0.6, nesterov=True)),
    "Adam": (0.005, lambda p: torch.optim.Adam(p, 0.005, eps=1e-4)),
    "AdamW": (0.005, lambda p: torch.optim.AdamW(p, 0.005, eps=1e-4)),
    "RMSprop": (0.003, lambda p: torch.optim.RMSprop(p, 0.003, eps=1e-2)),
    "Adagrad": (0.02, lambda p: torch.optim.Adagrad(p, 0.02, eps=1e-3)),
}
# What a session may refuse, or say that it does not follow: no second derivative, one that torch has wrong, state that
# depends on the parameters, and constants that do.
REFUSABLE = frozenset(
    {
        "weight_norm",
        "spectral_norm",
        "Conv1d weight_norm",
        "Conv2d weight_norm",
        "Conv2d spectral_norm",
        "Embedding of bounded norm",
        "Embedding sparse",
        "EmbeddingBag sum",
        "EmbeddingBag mean",
        "EmbeddingBag max",
        "F.batch_norm",
        "InstanceNorm1d tracking",
        "InstanceNorm2d tracking",
        "running scale",
        "cdist",
        "Hardsigmoid",
        "Embedding by frequency",
        "detached weights",
        "multi-margin",
    }
)
PENALTY = unrounded(Hyperparameter("penalty", 0.02, 1e-6, 1e3, "log"))
DECAY = unrounded(Hyperparameter("weight_decay", 0.01, 1e-6, 1.0, "log"))
MOMENTUM = unrounded(Hyperparameter("momentum", 0.6, 0.0, 0.99, "logit"))
BETA = unrounded(Hyperparameter("beta1", 0.8, 0.0, 0.99, "logit"))


@dataclass(frozen=True)
class Case:
    """The parts of a draw, by name.

    Args:
        seed: Of the draw, and of its weights and data.
        family: Shape of the inputs.
        layers: Between stem and head.
        around: Wrappers of the model, from the inside out.
        beside: Wrappers of the loop.
        criterion: Name of the training loss.
        optimizer: Name of the optimizer.
        hyper: Names of the hyperparameters.
        steps: Steps of the loop.
        single: Whether it runs in single precision, and only weights are judged.
        settings: Of the session.
    """

    seed: int
    family: str
    layers: tuple[str, ...]
    around: tuple[str, ...]
    beside: tuple[str, ...]
    criterion: str
    optimizer: str
    hyper: tuple[str, ...]
    steps: int
    single: bool
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        parts = [f"seed {self.seed}: {self.family}", ", ".join(self.layers)]
        parts += [", ".join((*self.around, *self.beside)) or "bare", self.criterion, self.optimizer]
        parts += ["/".join(self.hyper), f"{self.steps} steps", *(["single"] if self.single else [])]
        return " | ".join([*parts, *(f"{k}={v}" for k, v in self.settings.items())])

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model."""
        return torch.float32 if self.single else torch.float64

    @property
    def followed(self) -> bool:
        """Whether nothing in it excuses a session from being right."""
        wrapped = {*self.around, *self.beside} <= wrappers.FOLLOWED
        return wrapped and not {*self.layers, self.criterion} & REFUSABLE

    def trial(self) -> Trial:
        """What the judge takes."""
        known = {
            h.name: h
            for h in (
                PENALTY,
                DECAY,
                MOMENTUM,
                BETA,
                rate(OPTIMIZERS[self.optimizer][0], windows=2 if self.steps > 8 else 1),
            )
        }
        hyper = tuple(known[name] for name in self.hyper)
        return Trial(str(self), self.build, hyper, self.seed, self.steps, self.settings, not self.single)

    def build(self) -> Loop:
        """The loop, from the present state of torch's generator."""
        model = models.built(self.family, self.layers)
        for name in self.around:
            model = wrappers.MODELS[name](model)
        model = model.to(self.dtype)
        optimizer = OPTIMIZERS[self.optimizer][1]([p for p in model.parameters() if p.requires_grad])
        train, val = _losses(losses.LOSSES[self.criterion], penalised="penalty" in self.hyper)
        loop = Loop(model, optimizer, train, val, self.batch, [self.batch(-1), self.batch(-2)])
        loop.reads = "penalty" in self.hyper
        for name in self.beside:
            wrappers.LOOPS[name](loop)
        return loop

    def batch(self, step: int) -> dict[str, Any]:
        """The batch of a step: inputs, labels that can be learnt, and a number."""
        generator = torch.Generator().manual_seed(1000 * self.seed + step + 10)
        x = models.inputs(self.family, generator)
        y = models.labels(x)
        weight = 0.5 + float(torch.rand((), generator=generator))
        return {"x": x.to(self.dtype) if x.is_floating_point() else x, "y": y, "weight": weight}


def _losses(criterion: losses.Criterion, *, penalised: bool) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    def val(model: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        return losses.LOSSES["cross entropy"](model(batch["x"]), batch["y"])

    if not penalised:
        return (lambda model, batch: criterion(model(batch["x"]), batch["y"])), val

    def train(model: nn.Module, batch: Mapping[str, Any], hyper: Mapping[str, Tensor]) -> Tensor:
        squares = torch.stack([p.square().mean() for p in model.parameters() if p.requires_grad])
        return criterion(model(batch["x"]), batch["y"]) + hyper["penalty"] * squares.sum()

    return train, lambda model, batch, hyper: val(model, batch)


def draw(seed: int) -> Case:
    """A random case; the same for the same seed."""
    rng = np.random.default_rng([seed, 12])
    family, layers = models.drawn(rng)
    optimizer = str(rng.choice(sorted(OPTIMIZERS)))
    criterion = str(rng.choice(sorted(losses.SMOOTH if rng.random() < 0.8 else losses.KINKED)))
    around, beside = _wrapped(rng)
    forward = rng.random() < 0.15
    settings: dict[str, Any] = {"engine": "forward"} if forward else {}
    if not forward and rng.random() < 0.4:
        settings["memory"] = 0
    hyper = ("lr",) if forward else _hyper(rng, optimizer)
    steps = int(rng.choice([8, 10, 12, 16], p=[0.4, 0.2, 0.2, 0.2]))
    single = bool(rng.random() < 0.1)
    return Case(seed, family, layers, around, beside, criterion, optimizer, hyper, steps, single, settings)


def _wrapped(rng: np.random.Generator) -> tuple[tuple[str, ...], tuple[str, ...]]:
    count = int(rng.choice([0, 1, 2, 3], p=[0.2, 0.4, 0.25, 0.15]))
    names = [str(name) for name in rng.choice([*wrappers.MODELS, *wrappers.LOOPS], size=count, replace=False)]
    return (
        tuple(name for name in names if name in wrappers.MODELS),
        tuple(name for name in names if name in wrappers.LOOPS),
    )


def _hyper(rng: np.random.Generator, optimizer: str) -> tuple[str, ...]:
    options = ["penalty"]
    if optimizer.startswith("SGD"):
        options += ["weight_decay"] if optimizer == "SGD" else ["momentum", "weight_decay"]
    elif optimizer != "Adagrad":
        options += ["beta1", "weight_decay"] if optimizer.startswith("Adam") else ["weight_decay"]
    more = rng.choice(options, size=min(len(options), int(rng.integers(0, 3))), replace=False)
    return ("lr", *(str(name) for name in more))


def alone() -> dict[str, Case]:
    """Every part by itself, on the plainest of loops."""
    plain = Case(
        1, models.VECTORS, ("Tanh", "Linear"), (), (), "cross entropy", "SGD with momentum", ("lr",), 8, False, {}
    )
    found = {}
    for family, blocks in models.BLOCKS.items():
        found |= {
            f"{family}: {name}": replace(plain, family=family, layers=_after_text(family, name)) for name in blocks
        }
    found |= {f"{name} alone": replace(plain, layers=(name,)) for name in models.ACTIVATIONS}
    found |= {
        f"{models.TEXTS}: {name}": replace(plain, family=models.TEXTS, layers=(name, "LayerNorm"))
        for name in models.EMBEDDINGS
    }
    found |= {f"loss: {name}": replace(plain, criterion=name) for name in losses.LOSSES}
    found |= {f"optimizer: {name}": replace(plain, optimizer=name) for name in OPTIMIZERS}
    found |= {f"model: {name}": replace(plain, around=(name,)) for name in wrappers.MODELS}
    return found | {f"loop: {name}": replace(plain, beside=(name,)) for name in wrappers.LOOPS}


def _after_text(family: str, name: str) -> tuple[str, ...]:
    return ("Embedding", name) if family == models.TEXTS else (name,)
