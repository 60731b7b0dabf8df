"""Few, regression, almost without noise left: patches of photos, denoised by convolutions of searched size; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import ACTIVATIONS, Batch, Shuffled, batches, optimizer, schedule
from suites.held_out.data import photos
from suites.task import Config, Hyper, Task, Training

STEPS = 400
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "channels": tune.choice([4, 8, 12]),
    "depth": tune.choice([1, 2]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "adamw",
    "channels": 8,
    "depth": 2,
    "activation": "relu",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    noisy, clean = batch
    return F.mse_loss(noisy - model(noisy), clean)


def build(config: Config, seed: int) -> Training:
    data = photos()
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(1, config["channels"], 3, padding=1), ACTIVATIONS[config["activation"]]()]
    for _ in range(config["depth"] - 1):
        layers += [nn.Conv2d(config["channels"], config["channels"], 3, padding=1), ACTIVATIONS[config["activation"]]()]
    model = nn.Sequential(*layers, nn.Conv2d(config["channels"], 1, 3, padding=1))
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed, 16),
        batches(data.val, 100),
        batches(data.test, 500),
    )


TASK = Task("photos-denoise", "few", STEPS, SPACE, build, SENSIBLE)
