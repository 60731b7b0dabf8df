"""Many, classification: splice junctions of DNA by convolutions; rates, decays, noise, weights; SGD, one-cycle."""

import torch
from ray import tune
from torch import Tensor, nn

from suites.blocks import (
    ACTIVATIONS,
    Batch,
    Shuffled,
    batches,
    noisy,
    optimizer,
    reweighted,
    schedule,
    smoothed,
    stacked,
)
from suites.held_out.data import splice
from suites.task import Config, Hyper, Option, Task, Training

STEPS = 300
PARTS = tuple(range(4))
REGIONS = tuple(f"mutation_{region}" for region in range(12))  # of five bases each
BASES = tuple(f"base_noise_{base}" for base in "acgt")
CLASSES = tuple(f"class_{label}" for label in range(3))
SPACE = {
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "channels": tune.choice([8, 16]),
    **{f"lr_{part}": tune.loguniform(1e-4, 1.0) for part in PARTS},
    **{f"weight_decay_{part}": tune.loguniform(1e-6, 1e-1) for part in PARTS},
    "momentum": tune.uniform(0.0, 0.99),
    "smoothing": tune.uniform(0.0, 0.5),
    "logit_penalty": tune.loguniform(1e-6, 1.0),
    **{f"noise_{part}": tune.uniform(0.0, 1.5) for part in PARTS[1:]},
    **{name: tune.uniform(0.0, 1.0) for name in REGIONS},
    **{name: tune.uniform(0.0, 1.0) for name in BASES},
    **{name: tune.uniform(0.0, 1.0) for name in CLASSES},
}
SENSIBLE = {
    "activation": "gelu",
    "channels": 16,
    **{f"lr_{part}": 0.05 for part in PARTS},
    **{f"weight_decay_{part}": 1e-3 for part in PARTS},
    "momentum": 0.9,
    "smoothing": 0.02,
    "logit_penalty": 1e-4,
    **{f"noise_{part}": 0.2 for part in PARTS[1:]},
    **dict.fromkeys(REGIONS, 0.1),
    **dict.fromkeys(BASES, 0.1),
    **dict.fromkeys(CLASSES, 0.5),
}


class Junctions(nn.Module):
    """Two convolutions and a hidden layer; activations are dropped out by the strengths that come with the bases."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [
                nn.Conv1d(4, channels, 7, stride=2, padding=3),
                nn.Conv1d(channels, channels, 5, stride=2, padding=2),
                nn.Linear(15 * channels, 32),
                nn.Linear(32, 3),
            ]
        )
        self.activation = ACTIVATIONS[activation]()

    def forward(self, seen: Tensor, strengths: Tensor | None = None) -> Tensor:
        """Logits of bases [batch, 4, 60]; without strengths nothing is dropped out."""
        for place, part in enumerate(self.parts[:-1]):
            seen = self.activation(part(seen.flatten(1) if place == 2 else seen))
            seen = seen if strengths is None else noisy(seen, strengths[place])
        answers: Tensor = self.parts[-1](seen)
        return answers


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    bases, labels = batch
    mutated = stacked(hyper, REGIONS).repeat_interleave(5) * torch.rand(len(bases), 1, 60)
    bases = bases + mutated * (bases[:, torch.randperm(4)] - bases)  # towards another base
    bases = bases + stacked(hyper, BASES)[:, None] * torch.randn_like(bases)
    logits = model(bases, stacked(hyper, [f"noise_{part}" for part in PARTS[1:]]))
    each = smoothed(logits, labels, hyper["smoothing"]) + hyper["logit_penalty"] * logits.square().mean(-1)
    return reweighted(each, stacked(hyper, CLASSES), labels)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = splice()
    torch.manual_seed(seed)
    model = Junctions(config["channels"], config["activation"])
    groups = [
        {"params": part.parameters(), "lr": config[f"lr_{place}"], "weight_decay": config[f"weight_decay_{place}"]}
        for place, part in enumerate(model.parts)
    ]
    trained = optimizer(groups, {"optimizer": "sgd", **config})
    return Training(
        model,
        trained,
        schedule("one-cycle", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


OPTIONS = {f"{name}_{part}": Option(name, (part,)) for name in ("lr", "weight_decay") for part in PARTS}
TASK = Task("splice-many", "many", STEPS, SPACE, build, SENSIBLE, OPTIONS)
