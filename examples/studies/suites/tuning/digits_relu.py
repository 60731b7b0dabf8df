"""Few, classification: digits by a perceptron, whose size, activation and optimizer are searched; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule
from suites.task import Config, Hyper, Task, Training
from tasks.data import digits

STEPS = 1100
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([16, 32, 64, 128]),
    "depth": tune.choice([1, 2, 3]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "sgd",
    "width": 64,
    "depth": 2,
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
    data = digits()
    torch.manual_seed(seed)
    model = perceptron(64, config["width"], config["depth"], 10, config["activation"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 397),
    )


TASK = Task("digits-relu", "few", STEPS, SPACE, build, SENSIBLE)
