"""Data, classification: pen strokes from 14 sources, of whose labels 0 to 90 % are wrong; a weight each; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, reweighted, schedule, stacked
from suites.held_out.data import penbased
from suites.task import Config, Hyper, Task, Training

STEPS = 1000
WRONG = torch.linspace(0, 0.9, 14)
SOURCES = tuple(f"source_{source}" for source in range(14))
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "width": tune.choice([32, 64]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    **{name: tune.uniform(0.0, 1.0) for name in SOURCES},
}
SENSIBLE = {
    "optimizer": "sgd",
    "activation": "relu",
    "width": 64,
    "lr": 0.03,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    **dict.fromkeys(SOURCES, 0.5),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    inputs, labels, sources = batch
    return reweighted(F.cross_entropy(model(inputs), labels, reduction="none"), stacked(hyper, SOURCES), sources)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = penbased()
    generator = torch.Generator().manual_seed(0)
    inputs, labels = (part[:2100] for part in data.train)
    sources = torch.arange(len(labels)) % len(SOURCES)
    wrong = torch.rand(len(labels), generator=generator) < WRONG[sources]
    labels = (labels + wrong * torch.randint(1, 10, labels.shape, generator=generator)) % 10
    torch.manual_seed(seed)
    model = perceptron(16, config["width"], 2, 10, config["activation"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled((inputs, labels, sources), seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("penbased-sources", "data", STEPS, SPACE, build, SENSIBLE)
