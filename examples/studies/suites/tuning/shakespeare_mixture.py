"""Data, next symbol: comedies from 14 texts, six of them corrupted, weighed, by a transformer; AdamW, cosine."""

import torch
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, reweighted, schedule, stacked, symbol_loss
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import TEXT_SOURCES, text_mixture
from suites.tuning.networks import Causal
from tasks.data import SYMBOLS

STEPS = 500
LENGTH = 16
WEIGHTS = [f"source_{name}" for name in TEXT_SOURCES]
SPACE = {
    "width": tune.choice([16, 32, 48]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-5, 1e-1),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-4, 1.0),
    **{name: tune.uniform(0.0, 1.0) for name in WEIGHTS},
}
SENSIBLE = {
    "width": 32,
    "activation": "gelu",
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.01,
    **dict.fromkeys(WEIGHTS, 0.5),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    symbols, following, sources = batch
    return reweighted(symbol_loss(model(symbols), following), stacked(hyper, WEIGHTS), sources)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return symbol_loss(model(batch[0]), batch[1]).mean()


def build(config: Config, seed: int) -> Training:
    data, sources = text_mixture(LENGTH, 1_000)
    torch.manual_seed(seed)
    model = Causal(SYMBOLS, config["width"], LENGTH, config["activation"])
    trained = optimizer(list(model.parameters()), {**config, "optimizer": "adamw"})
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled((*data.train, sources), seed, 16),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("shakespeare-mixture", "data", STEPS, SPACE, build, SENSIBLE)
