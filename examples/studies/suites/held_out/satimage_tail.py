"""Data, classification: Landsat pixels with a long tail of classes, 100 : 1; a weight and an offset each; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, reweighted, schedule, stacked
from suites.held_out.data import satimage_tail
from suites.task import Config, Hyper, Task, Training

STEPS = 1000
WEIGHTS = tuple(f"weight_{label}" for label in range(6))
OFFSETS = tuple(f"offset_{label}" for label in range(6))  # of the logits in training: margins
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    **{name: tune.loguniform(1e-2, 1e2) for name in WEIGHTS},
    **{name: tune.uniform(-5.0, 5.0) for name in OFFSETS},
}
SENSIBLE = {
    "optimizer": "sgd",
    "activation": "relu",
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    **dict.fromkeys(WEIGHTS, 1.0),
    **dict.fromkeys(OFFSETS, 0.0),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    each = F.cross_entropy(model(batch[0]) + stacked(hyper, OFFSETS), batch[1], reduction="none")
    return reweighted(each, stacked(hyper, WEIGHTS), batch[1])


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = satimage_tail()
    torch.manual_seed(seed)
    model = perceptron(36, 32, 1, 6, config["activation"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed),
        batches(data.val, 90),
        batches(data.test, 900),
    )


TASK = Task("satimage-tail", "data", STEPS, SPACE, build, SENSIBLE)
