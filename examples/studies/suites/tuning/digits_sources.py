"""Data, classification: digits from 12 sources that mislabel up to 90 %, weighed, by a perceptron; AdamW, cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, reweighted, schedule, stacked
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import mislabelled
from tasks.data import digits

STEPS = 1000
SOURCES = 12
WEIGHTS = [f"source_{source}" for source in range(SOURCES)]
SPACE = {
    "width": tune.choice([16, 32, 64, 128]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-5, 1e-1),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    **{name: tune.uniform(0.0, 1.0) for name in WEIGHTS},
}
SENSIBLE = {
    "width": 64,
    "activation": "gelu",
    "lr": 0.003,
    "momentum": 0.9,
    "weight_decay": 0.01,
    **dict.fromkeys(WEIGHTS, 0.5),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    images, labels, sources = batch
    losses = F.cross_entropy(model(images), labels, reduction="none")
    return reweighted(losses, stacked(hyper, WEIGHTS), sources)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def wrong() -> Tensor:
    """The share of wrong labels of each source."""
    return torch.linspace(0, 0.9, SOURCES)[torch.randperm(SOURCES, generator=torch.Generator().manual_seed(1))]


def build(config: Config, seed: int) -> Training:
    data = digits()
    images, labels = data.train
    sources = torch.arange(len(labels)) % SOURCES
    torch.manual_seed(seed)
    model = perceptron(64, config["width"], 1, 10, config["activation"])
    trained = optimizer(list(model.parameters()), {**config, "optimizer": "adamw"})
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled((images, mislabelled(labels, sources, wrong(), 10), sources), seed),
        batches(data.val, 100),
        batches(data.test, 397),
    )


TASK = Task("digits-sources", "data", STEPS, SPACE, build, SENSIBLE)
