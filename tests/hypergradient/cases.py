"""The bilevel problems that every engine is tried on: small smooth networks, every optimizer, all kinds of knobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ray_glocal.hypergradient import Hyperparameter, Lion, Problem, record_window
from ray_glocal.hypergradient.window.tape import Tape
from ray_glocal.hypergradient.window.window import Window

CLASSES = 3


def entropy(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


class Attention(nn.Module):
    """One causal block; no biases on keys, whose gradient is zero in theory and noise in practice."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 12, bias=False)
        self.norm = nn.LayerNorm(4)
        self.widen, self.narrow = nn.Linear(4, 6), nn.Linear(6, 4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        heads = [t.unflatten(-1, (2, 2)).transpose(1, 2) for t in self.mix(self.norm(x)).chunk(3, dim=-1)]
        x = x + F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.narrow(F.gelu(self.widen(x)))
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 5, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class Tied(nn.Module):
    """The same weight going in and coming out."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 6), nn.Linear(6, 6)
        self.decode.weight = self.encode.weight
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decode(F.gelu(self.encode(x))))


class WithSpare(nn.Module):
    """Has parameters that the loss never touches, and one that it touches every second time."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.spare, self.odd = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, CLASSES)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.body(x))
        return self.head(hidden) + (self.odd(hidden) if len(x) % 2 else 0.0)


def mlp(dropout: float = 0.0) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 5), nn.GELU(), nn.Linear(5, CLASSES)]
    return nn.Sequential(*([*layers[:2], nn.Dropout(dropout), *layers[2:]] if dropout else layers))


def normalised() -> nn.Module:
    # No bias ahead of the normalisation: its gradient would be noise around zero.
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, CLASSES))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.Conv2d(4, 2, 2), nn.Flatten(), nn.Linear(18, CLASSES)
    )


MODELS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (6,)),
    "cnn": (convolutional, (1, 6, 6)),
    "gru": (Recurrent, (4, 4)),
    "attention": (Attention, (4, 4)),
}


def normalised_images() -> nn.Module:
    """Two dimensions, one module that runs twice, one without scale, one without statistics."""
    shared = nn.BatchNorm2d(2)
    free = nn.BatchNorm2d(2, track_running_stats=False)
    layers = [nn.Conv2d(1, 2, 3, bias=False), shared, nn.GELU(), nn.Conv2d(2, 2, 2, bias=False), shared, nn.GELU()]
    head = [nn.Conv2d(2, 2, 1, bias=False), free, nn.Flatten(), nn.BatchNorm1d(18, affine=False)]
    return nn.Sequential(*layers, *head, nn.Linear(18, CLASSES))


VARIANTS: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dropout": (lambda: mlp(0.3), (6,)),
    "batchnorm": (normalised, (6,)),
    "batchnorm-images": (normalised_images, (1, 6, 6)),
    "tied": (Tied, (6,)),
    "unused": (WithSpare, (6,)),
    "frozen": (mlp, (6,)),
}


@dataclass(frozen=True)
class Kind:
    """A torch optimizer with start options, and which of them are hyperparameters."""

    optimizer: type[torch.optim.Optimizer]
    options: Mapping[str, Any]
    adapted: tuple[Hyperparameter, ...]


def _decay(name: str, start: float) -> Hyperparameter:
    return Hyperparameter(name, start, 0.0, 1.0, "logit")


def _rate(start: float) -> Hyperparameter:
    return Hyperparameter("lr", start, 1e-6, 10.0, "log")


WEIGHT_DECAY = Hyperparameter("weight_decay", 0.02, 1e-6, 1.0, "log")
ADAM = (_rate(0.02), _decay("beta1", 0.8), _decay("beta2", 0.97), Hyperparameter("eps", 1e-3, scale="log"))
OPTIMIZERS: Mapping[str, Kind] = {
    "sgd": Kind(torch.optim.SGD, {}, (_rate(0.2), _decay("momentum", 0.8), WEIGHT_DECAY, _decay("dampening", 0.1))),
    "nesterov": Kind(
        torch.optim.SGD, {"momentum": 0.8, "nesterov": True}, (_rate(0.2), _decay("momentum", 0.8), WEIGHT_DECAY)
    ),
    "adam": Kind(torch.optim.Adam, {}, (*ADAM, WEIGHT_DECAY)),
    "adamw": Kind(torch.optim.AdamW, {}, (*ADAM, WEIGHT_DECAY)),
    "rmsprop": Kind(
        torch.optim.RMSprop,
        {"momentum": 0.5},
        (
            _rate(0.02),
            _decay("alpha", 0.9),
            _decay("momentum", 0.5),
            Hyperparameter("eps", 1e-3, scale="log"),
            WEIGHT_DECAY,
        ),
    ),
    "adagrad": Kind(
        torch.optim.Adagrad,
        {"initial_accumulator_value": 0.1},
        (
            _rate(0.1),
            Hyperparameter("lr_decay", 0.1, scale="log"),
            Hyperparameter("eps", 1e-3, scale="log"),
            WEIGHT_DECAY,
        ),
    ),
}
# Their steps have jumps, which derivatives pass over and finite differences do not.
JUMPING: Mapping[str, Kind] = {
    "lion": Kind(Lion, {}, (_rate(0.01), WEIGHT_DECAY)),
    **(
        {"muon": Kind(torch.optim.Muon, {}, (_rate(0.05), _decay("momentum", 0.8), WEIGHT_DECAY))}
        if hasattr(torch.optim, "Muon")
        else {}
    ),
}
IN_LOSS = (
    Hyperparameter("smoothing", 0.1, 0.0, 0.5, "logit"),
    Hyperparameter("weights", torch.tensor([0.2, 0.3, 0.5]), scale="simplex"),
    Hyperparameter("penalty", 0.05, scale="softplus"),
)


def train_loss(model: Callable[[Tensor], Tensor], batch: Sequence[Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
    inputs, labels = batch
    logits = model(inputs)
    soft = F.one_hot(labels, CLASSES) * (1 - hyper["smoothing"]) + hyper["smoothing"] / CLASSES
    entropy = -(soft * logits.log_softmax(-1) * CLASSES * hyper["weights"]).sum(-1).mean()
    return entropy + hyper["penalty"] * logits.square().mean()


def val_loss(model: Callable[[Tensor], Tensor], batch: Sequence[Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
    """Depends on a hyperparameter directly, too."""
    inputs, labels = batch
    logits = model(inputs)
    return F.cross_entropy(logits, labels) + 0.3 * hyper["penalty"] * logits.square().mean()


def draw(shape: tuple[int, ...], count: int, size: int, dtype: torch.dtype, device: str) -> list[tuple[Tensor, Tensor]]:
    """Batches in which one class sticks out a little; every second one is smaller by one."""
    made = []
    for index in range(count):
        labels = torch.randint(CLASSES, (size - index % 2,))
        inputs = torch.randn(len(labels), *shape, dtype=torch.float64) + labels.reshape(-1, *(1 for _ in shape)) * 0.5
        made.append((inputs.to(device, dtype), labels.to(device)))
    return made


@dataclass(frozen=True)
class Case:
    """A problem with its data."""

    problem: Problem
    batches: list[tuple[Tensor, Tensor]]
    val_batches: list[tuple[Tensor, Tensor]]

    @classmethod
    def build(
        cls, model: str, optimizer: str, *, steps: int = 6, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> Case:
        torch.manual_seed(7)
        factory, shape = {**MODELS, **VARIANTS}[model]
        module = factory().to(device, torch.float64).to(dtype)
        if model == "frozen":
            next(module.parameters()).requires_grad_(False)
        kind = {**OPTIMIZERS, **JUMPING}[optimizer]
        if optimizer == "muon":  # takes matrices alone
            for parameter in module.parameters():
                parameter.requires_grad_(parameter.requires_grad and parameter.ndim == 2)
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        built = kind.optimizer(trained if optimizer == "muon" else module.parameters(), **{"lr": 0.1, **kind.options})
        problem = Problem(module, built, train_loss, val_loss, (*kind.adapted, *IN_LOSS))
        data = draw(shape, steps, 8, dtype, device), draw(shape, 2, 16, dtype, device)
        return cls(problem, *data)

    def warm_up(self, steps: int = 3) -> None:
        """Train, so that the optimizer's buffers are not empty."""
        values = self.problem.start_values()
        self.problem.write_options(None, values)
        for index in range(steps):
            self.problem.advance(self.batches[index], values)

    def window(self, *, kept: bool = False) -> Window:
        """Its batches as a window, whose graphs are kept, where that changes nothing, or not."""
        tape = Tape(self.problem, len(self.batches)) if kept else None
        return record_window(self.problem, self.batches, self.val_batches, self.problem.start_values(), tape=tape)


def relative(got: Tensor, truth: Tensor) -> float:
    """Largest difference, relative to each column's largest true entry."""
    scale = truth.abs().amax(0, keepdim=True) if truth.ndim > 1 else truth.abs()
    return float(((got - truth).abs() / scale.clamp_min(1e-300)).max())
