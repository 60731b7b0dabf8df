"""Few, classification: pen strokes, point by point, by a GRU whose width and reading are searched; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, schedule
from suites.held_out.data import penbased
from suites.task import Config, Hyper, Task, Training

STEPS = 400
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([8, 16, 32, 48]),
    "reading": tune.choice(["last", "mean"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "adamw",
    "width": 32,
    "reading": "last",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-3,
}


class Strokes(nn.Module):
    """A GRU over the 8 points; the last of its states is classified, or their mean."""

    def __init__(self, width: int, reading: str) -> None:
        super().__init__()
        self.reading = reading
        self.cells = nn.GRU(2, width, batch_first=True)
        self.leave = nn.Linear(width, 10)

    def forward(self, points: Tensor) -> Tensor:
        """Logits of points [batch, 16]."""
        seen, _ = self.cells(points.unflatten(1, (8, 2)))
        answers: Tensor = self.leave(seen[:, -1] if self.reading == "last" else seen.mean(1))
        return answers


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = penbased()
    torch.manual_seed(seed)
    model = Strokes(config["width"], config["reading"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("penbased-gru", "few", STEPS, SPACE, build, SENSIBLE)
