"""Data, regression: log prices known of a few diamonds, beside 15 auxiliary targets, weighed; AdamW, cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule, stacked
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import DIAMOND_COLUMNS, diamond_views

STEPS = 1000
ROWS, PRICED = 1_500, 150
BAD = ("permuted_0", "permuted_1", "permuted_2", "noise_0", "noise_1", "noise_2")
WEIGHTS = [f"loss_{name}" for name in (*DIAMOND_COLUMNS, *BAD)]
SPACE = {
    "width": tune.choice([16, 32, 64]),
    "activation": tune.choice(["tanh", "gelu"]),
    "lr": tune.loguniform(1e-5, 1e-1),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-4, 1.0),
    **{name: tune.loguniform(1e-3, 10.0) for name in WEIGHTS},
}
SENSIBLE = {
    "width": 32,
    "activation": "gelu",
    "lr": 0.005,
    "momentum": 0.9,
    "weight_decay": 0.01,
    **dict.fromkeys(WEIGHTS, 0.1),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    views, price, known, targets = batch
    told = model(views)
    main = ((told[:, 0] - price).square() * known).mean() * (ROWS / PRICED)
    return main + ((told[:, 1:] - targets).square() * stacked(hyper, WEIGHTS)).mean(0).sum()


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.mse_loss(model(batch[0])[:, 0], batch[1])


def build(config: Config, seed: int) -> Training:
    train, data = diamond_views(ROWS, PRICED)
    torch.manual_seed(seed)
    model = perceptron(train[0].shape[1], config["width"], 2, 1 + len(WEIGHTS), config["activation"])
    trained = optimizer(list(model.parameters()), {**config, "optimizer": "adamw"})
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(train, seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("diamonds-auxiliary", "data", STEPS, SPACE, build, SENSIBLE)
