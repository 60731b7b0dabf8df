"""Few, classification: letters by a perceptron, with or without normalisation, by SGD or AdamW; one-cycle."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import letters

STEPS = 1000
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "norm": tune.choice(["none", "batch", "layer"]),
    "width": tune.choice([16, 32, 64, 128]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "adamw",
    "norm": "batch",
    "width": 64,
    "activation": "relu",
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 0.01,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = letters(12_000)
    torch.manual_seed(seed)
    model = perceptron(16, config["width"], 2, 26, config["activation"], config["norm"])
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


TASK = Task("letter-norm", "few", STEPS, SPACE, build, SENSIBLE)
