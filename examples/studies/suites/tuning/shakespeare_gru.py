"""Few, next symbol: Shakespeare's characters by a GRU of one or two layers, by SGD or AdamW; no schedule."""

import torch
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Recurrent, Shuffled, batches, optimizer, symbol_loss
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import verses
from tasks.data import SYMBOLS

STEPS = 400
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([16, 32, 48]),
    "layers": tune.choice([1, 2]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {
    "optimizer": "adamw",
    "width": 32,
    "layers": 1,
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.01,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return symbol_loss(model(batch[0]), batch[1]).mean()


def build(config: Config, seed: int) -> Training:
    data = verses(16, 16_000)
    torch.manual_seed(seed)
    model = Recurrent(SYMBOLS, config["width"], config["layers"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        None,
        train_loss,
        val_loss,
        Shuffled(data.train, seed, 16),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("shakespeare-gru", "few", STEPS, SPACE, build, SENSIBLE)
