"""Few, regression: the log price of diamonds by a perceptron, by SGD or AdamW; three steps down."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule
from suites.task import Config, Hyper, Task, Training
from suites.tuning import data as sets

STEPS = 1200
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([8, 16, 32, 64]),
    "depth": tune.choice([1, 2, 3]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "adamw",
    "width": 32,
    "depth": 2,
    "activation": "gelu",
    "lr": 0.005,
    "momentum": 0.9,
    "weight_decay": 0.01,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.mse_loss(model(batch[0]).squeeze(1), batch[1])


def build(config: Config, seed: int) -> Training:
    data = sets.diamonds()
    torch.manual_seed(seed)
    model = perceptron(9, config["width"], config["depth"], 1, config["activation"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("steps", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("diamonds", "few", STEPS, SPACE, build, SENSIBLE)
