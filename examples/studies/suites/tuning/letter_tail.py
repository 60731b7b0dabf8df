"""Data, classification: letters of a long tail, their classes weighed, by a perceptron; AdamW, cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, reweighted, schedule, stacked
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import long_tail

STEPS = 1200
WEIGHTS = [f"class_{chr(ord('A') + index)}" for index in range(26)]
SPACE = {
    "width": tune.choice([16, 32, 64, 128]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-5, 1e-1),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-4, 1.0),
    **{name: tune.loguniform(1e-2, 1.0) for name in WEIGHTS},
}
SENSIBLE = {
    "width": 64,
    "activation": "gelu",
    "lr": 0.005,
    "momentum": 0.9,
    "weight_decay": 0.1,
    **dict.fromkeys(WEIGHTS, 0.1),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    losses = F.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return reweighted(losses, stacked(hyper, WEIGHTS), batch[1])


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = long_tail(400, 4)
    torch.manual_seed(seed)
    model = perceptron(16, config["width"], 2, 26, config["activation"])
    trained = optimizer(list(model.parameters()), {**config, "optimizer": "adamw"})
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 104),
        batches(data.test, 988),
    )


TASK = Task("letter-tail", "data", STEPS, SPACE, build, SENSIBLE)
