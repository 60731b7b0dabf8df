"""Small training runs, with every kind of randomness that a resumed one has to meet again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession, Settings

SECONDS = ("cost/seconds", "cost/share", "cost/overhead")  # no two runs agree in these
CLASSES, FEATURES = 3, 6


def windows(**told: Any) -> Settings:
    """Settings of a session that works by windows, in the budget of their tests, and reports the raw weights."""
    overhead = None if told.get("duty_cycle") is not None else 0.25
    return Settings(**{"hypergradients": "windows", "averaging": False, "overhead": overhead, **told})


# Bit for bit the same on every machine, so by duty cycles; the first one's gate always holds.
QUIET = windows(window=8, search_window=6, duty_cycle=0.125, act=1e12, act_small=1e12, heat=0)
LIVELY = windows(window=8, search_window=6, duty_cycle=0.5, act=1.0, act_small=0.1, report_every=20)
PROMPT = Settings(window=8, search_window=6, overhead=None, duty_cycle=0.5, report_every=20)
WAYS = {"windows": LIVELY, "first-order": PROMPT}  # in which a session adapts

OPTIMIZERS: Mapping[str, tuple[type[torch.optim.Optimizer], dict[str, Any], tuple[Hyperparameter, ...]]] = {
    "sgd": (
        torch.optim.SGD,
        {"lr": 0.03, "momentum": 0.8},
        (
            Hyperparameter("lr", 0.03, 1e-5, 10.0, "log"),
            Hyperparameter("momentum", 0.8, 0.0, 0.99, "logit"),
            Hyperparameter("weight_decay", 1e-2, 1e-6, 0.1, "log"),
        ),
    ),
    "adamw": (
        torch.optim.AdamW,
        {"lr": 0.005},
        (
            Hyperparameter("lr", 0.005, 1e-5, 1.0, "log"),
            Hyperparameter("beta1", 0.9, 0.0, 0.99, "logit"),
            Hyperparameter("weight_decay", 1e-2, 1e-6, 1.0, "log"),
        ),
    ),
    "rmsprop": (
        torch.optim.RMSprop,
        {"lr": 0.002, "momentum": 0.5},
        (Hyperparameter("lr", 0.002, 1e-5, 1.0, "log"), Hyperparameter("alpha", 0.95, 0.0, 0.999, "logit")),
    ),
}


class Network(nn.Module):
    """Dropout, batch normalisation, and a buffer that no state dict holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(FEATURES, 10), nn.BatchNorm1d(10)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(10, CLASSES)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(F.gelu(self.norm(self.first(x)))) * self.scale.clone()
        if self.training:
            with torch.no_grad():
                self.scale.mul_(0.99).add_(0.01 * (1 + hidden.mean().tanh()))
        return self.last(hidden)


def entropy(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Cross entropy of a batch of inputs and labels."""
    return F.cross_entropy(model(batch[0]), batch[1])


def train_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Draws from every global generator, as augmentation does."""
    shift = 0.01 * (np.random.rand() + random.random())  # noqa: NPY002
    return F.cross_entropy(model(batch[0] + shift), batch[1])


def val_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Draws as well, which nobody else may notice."""
    noise = 1e-3 * torch.rand(()) + 1e-3 * np.random.rand() * random.random()  # noqa: NPY002
    return F.cross_entropy(model(batch[0] + noise), batch[1])


def dataset(count: int, dtype: torch.dtype, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    inputs = torch.randn(count, FEATURES, generator=generator, dtype=torch.float64)
    inputs[torch.arange(count), labels] += 2.0
    return TensorDataset(inputs.to(dtype), labels)


def loader(dtype: torch.dtype, generator: torch.Generator | None = None) -> DataLoader[Any]:
    """Six batches an epoch, shuffled."""
    return DataLoader(dataset(96, dtype, 1), batch_size=16, shuffle=True, generator=generator)


SCHEDULES: Mapping[str, Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]] = {
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 25, 0.5),
    "multistep": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 60], 0.3),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 100),
    "cosine with a floor": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 100, eta_min=1e-3),
    "restarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 30),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + 0.02 * step)),
    "lambda from zero": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, step / 10)),
    "exponential": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.98),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, 100, cycle_momentum=False),
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.05, 10, cycle_momentum=False),
    "warm-up and cosine": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 10),
            torch.optim.lr_scheduler.CosineAnnealingLR(o, 90),
        ],
        [10],
    ),
    "chained": lambda o: torch.optim.lr_scheduler.ChainedScheduler(
        [torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 10), torch.optim.lr_scheduler.ExponentialLR(o, 0.99)]
    ),
}


@dataclass
class Run:
    """Everything that one training process would build anew."""

    optimizer_name: str = "sgd"
    dtype: torch.dtype = torch.float64
    schedule: str | None = None
    total: int = 100
    settings: Settings = LIVELY
    own_generator: bool = False
    trace: Path | None = None
    start: Mapping[str, float] = field(default_factory=dict)
    train: Callable[..., Tensor] = train_loss
    val: Callable[..., Tensor] = val_loss

    def __post_init__(self) -> None:
        seed_all(3)
        kind, options, hyper = OPTIMIZERS[self.optimizer_name]
        self.model = Network().to(self.dtype)
        self.optimizer = kind(self.model.parameters(), **options)
        self.scheduler = None if self.schedule is None else SCHEDULES[self.schedule](self.optimizer)
        generator = torch.Generator().manual_seed(11) if self.own_generator else None
        self.loader = loader(self.dtype, generator)
        self.generator = generator
        self.hyper = tuple(
            Hyperparameter(h.name, self.start.get(h.name, h.start), h.lower, h.upper, h.scale) for h in hyper
        )

    def session(self, **changed: Any) -> GlocalSession:
        arguments: dict[str, Any] = {
            "val_batches": DataLoader(dataset(40, self.dtype, 2), batch_size=8),
            "hyper": self.hyper,
            "total_steps": self.total,
            "lr_scheduler": self.scheduler,
            "trace": self.trace,
            "settings": self.settings,
            "constants": ("scale",),  # it depends on the parameters, and derivatives do not follow it
        }
        return GlocalSession(self.model, self.optimizer, self.train, self.val, **{**arguments, **changed})


def seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def drive(session: GlocalSession, batches: Any, until: int | None = None) -> list[dict[str, float]]:
    """Train up to a step; the reports on the way."""
    reports = []
    while session.step_count < (session.total_steps if until is None else until):
        session.step(next(batches))
        if session.at_report:
            reports.append(without_seconds(session.metrics()))
    return reports


def run_saved(folder: Path, at: int = 20, **arguments: Any) -> Run:
    """A run whose session trained up to a step and was saved."""
    run = Run(**arguments)
    session = run.session()
    drive(session, session.batches(run.loader), at)
    session.save(folder)
    return run


def without_seconds(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in SECONDS}


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that training leaves behind, the session's bookkeeping apart."""
    plain = optimizer.state_dict()
    groups = [{k: v for k, v in group.items() if k not in ("adapted_lr",)} for group in plain["param_groups"]]
    return {
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": [b.clone() for b in model.buffers()],
        "optimizer": {i: {k: v.clone() for k, v in held.items()} for i, held in plain["state"].items()},
        "options": groups,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "numpy position": np.random.get_state()[2],  # noqa: NPY002
        "python": random.getstate(),
    }


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Where two nested structures differ in any bit; NaN equals NaN."""
    if isinstance(left, Tensor):
        alike = isinstance(right, Tensor) and left.dtype == right.dtype and left.shape == right.shape
        return [] if alike and torch.equal(left.nan_to_num(7.0), right.nan_to_num(7.0)) else [path]
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return [f"{path}: {left.keys() ^ right.keys()}"]
        return [d for key in left for d in differences(left[key], right[key], f"{path}/{key}")]
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            return [f"{path}: {len(left)} and {len(right)} long"]
        return [d for i, (a, b) in enumerate(zip(left, right, strict=True)) for d in differences(a, b, f"{path}/{i}")]
    return [] if left == right or (left != left and right != right) else [f"{path}: {left} and {right}"]


def rows_of(session: GlocalSession) -> list[dict[str, Any]]:
    return [dict(vars(row)) for row in session.trace.rows]
