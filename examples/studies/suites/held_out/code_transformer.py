"""Few, language: characters of Python sources by a one-layer causal transformer, its width searched; cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, schedule
from suites.held_out.data import SYMBOLS, code
from suites.task import Config, Hyper, Task, Training
from tasks.networks import Transformer

STEPS = 300
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([16, 32, 48]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
SENSIBLE = {"optimizer": "adamw", "width": 32, "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-2}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    return val_loss(model, batch)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def build(config: Config, seed: int) -> Training:
    data = code()
    torch.manual_seed(seed)
    model = Transformer(SYMBOLS, config["width"], SYMBOLS, symbols=True, length=32)
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed, 8),
        batches(data.val, 100),
        batches(data.test, 500),
    )


TASK = Task("code-transformer", "few", STEPS, SPACE, build, SENSIBLE)
