"""Few, classification: Landsat pixels by a perceptron, whose norm, dropout and activation are searched; one-cycle."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule
from suites.held_out.data import satimage
from suites.task import Config, Hyper, Task, Training

STEPS = 1200
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "norm": tune.choice(["none", "batch", "layer"]),
    "dropout": tune.choice([0.0, 0.1, 0.3, 0.5]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "sgd",
    "norm": "batch",
    "dropout": 0.1,
    "activation": "relu",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-4,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = satimage()
    torch.manual_seed(seed)
    model = perceptron(36, 48, 2, 6, config["activation"], config["norm"], config["dropout"])
    trained = optimizer(list(model.parameters()), config)
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


TASK = Task("satimage-norm", "few", STEPS, SPACE, build, SENSIBLE)
