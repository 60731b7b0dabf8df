"""Few, classification, long: spam by a small perceptron, whose activation and norm are searched; no schedule."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule
from suites.held_out.data import spambase
from suites.task import Config, Hyper, Task, Training

STEPS = 10_000
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "activation": tune.choice(["relu", "gelu"]),
    "norm": tune.choice(["none", "layer"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1.0),
}
SENSIBLE = {
    "optimizer": "sgd",
    "activation": "relu",
    "norm": "none",
    "lr": 0.003,
    "momentum": 0.9,
    "weight_decay": 1e-2,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = spambase()
    torch.manual_seed(seed)
    model = perceptron(57, 16, 1, 2, config["activation"], config["norm"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("none", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("spambase-long", "few", STEPS, SPACE, build, SENSIBLE)
