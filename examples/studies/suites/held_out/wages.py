"""Few, regression, mostly noise: wages by a perceptron, whose size and schedule, steps or none, are searched."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule
from suites.held_out.data import males
from suites.task import Config, Hyper, Task, Training

STEPS = 1200
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([8, 16, 32, 64]),
    "depth": tune.choice([1, 2]),
    "schedule": tune.choice(["steps", "none"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1.0),
}
SENSIBLE = {
    "optimizer": "adamw",
    "width": 16,
    "depth": 1,
    "schedule": "steps",
    "lr": 0.005,
    "momentum": 0.9,
    "weight_decay": 0.1,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.mse_loss(model(batch[0]).squeeze(1), batch[1])


def build(config: Config, seed: int) -> Training:
    data = males()
    torch.manual_seed(seed)
    model = perceptron(data.train[0].shape[1], config["width"], config["depth"], 1, "tanh")
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule(config["schedule"], trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 100),
        batches(data.test, 800),
    )


TASK = Task("wages", "few", STEPS, SPACE, build, SENSIBLE)
