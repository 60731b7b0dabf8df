"""Few, classification: 14 x 14 Fashion-MNIST by two strided convolutions, by SGD or AdamW; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import ACTIVATIONS, Batch, Shuffled, batches, optimizer, schedule
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import small_fashion

STEPS = 500
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "channels": tune.choice([4, 8, 12]),
    "norm": tune.choice(["none", "batch"]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "sgd",
    "channels": 8,
    "norm": "batch",
    "activation": "relu",
    "lr": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-4,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def convolutions(channels: int, activation: str, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, channels), (channels, 2 * channels)):
        layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1))
        layers += [nn.BatchNorm2d(outputs)] * (norm == "batch")
        layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * channels * 16, 10))


def build(config: Config, seed: int) -> Training:
    data = small_fashion(4_000)
    torch.manual_seed(seed)
    model = convolutions(config["channels"], config["activation"], config["norm"])
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


TASK = Task("fashion-cnn", "few", STEPS, SPACE, build, SENSIBLE)
