"""Many, next symbol: little of Shakespeare by a transformer whose parts have options and noise; AdamW, cosine."""

import torch
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, schedule, smoothed, stacked, symbol_loss
from suites.task import Config, Hyper, Option, Task, Training
from suites.tuning.data import commonness, verses
from suites.tuning.networks import Causal
from tasks.data import SYMBOLS

STEPS = 400
LENGTH, ROWS, CLASSES, SPANS = 16, 300, 6, 4
PARTS = ("embedding", "positions", "attention", "feed", "norms", "head")
RATES, DECAYS = ([f"{name}_{part}" for part in PARTS] for name in ("lr", "decay"))
NOISES = [f"noise_{place}" for place in ("entry", "attention", "wide", "narrow", "last")]
COMMONNESS = [f"weight_common_{told}" for told in range(CLASSES)]
PLACES = [f"weight_place_{span}" for span in range(SPANS)]
SPACE = {
    "width": tune.choice([16, 32, 48]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    **{name: tune.loguniform(1e-5, 1e-1) for name in RATES},
    **{name: tune.loguniform(1e-4, 10.0) for name in DECAYS},
    "momentum": tune.uniform(0.0, 0.99),
    "beta2": tune.uniform(0.9, 0.9999),
    "smoothing": tune.uniform(0.0, 0.5),
    "confidence": tune.loguniform(1e-4, 1.0),
    "normaliser": tune.loguniform(1e-5, 1e-1),
    **{name: tune.uniform(0.0, 1.5) for name in NOISES},
    **{name: tune.loguniform(1e-2, 1.0) for name in COMMONNESS + PLACES},
}
SENSIBLE = {
    "width": 32,
    "activation": "gelu",
    **dict.fromkeys(RATES, 0.01),
    **dict.fromkeys(DECAYS, 0.1),
    "momentum": 0.9,
    "beta2": 0.99,
    "smoothing": 0.02,
    "confidence": 1e-3,
    "normaliser": 1e-4,
    **dict.fromkeys(NOISES, 0.4),
    **dict.fromkeys(COMMONNESS + PLACES, 0.3),
}
OPTIONS = {name: Option("lr", (part,)) for part, name in enumerate(RATES)}
OPTIONS |= {name: Option("weight_decay", (part,)) for part, name in enumerate(DECAYS)}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    logits = model(batch[0], [hyper[name] for name in NOISES])
    common, places = stacked(hyper, COMMONNESS), stacked(hyper, PLACES)
    common, places = common / common.mean(), places / places.mean()
    weights = common[commonness(LENGTH, ROWS, CLASSES)[batch[1]]] * places.repeat_interleave(LENGTH // SPANS)
    chances = logits.log_softmax(-1)
    entropy, size = -(chances.exp() * chances).sum(-1), logits.logsumexp(-1).square()
    losses = weights * smoothed(logits, batch[1], hyper["smoothing"])
    return (losses - hyper["confidence"] * entropy + hyper["normaliser"] * size).mean()


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return symbol_loss(model(batch[0]), batch[1]).mean()


def build(config: Config, seed: int) -> Training:
    data = verses(LENGTH, ROWS)
    torch.manual_seed(seed)
    model = Causal(SYMBOLS, config["width"], LENGTH, config["activation"])
    groups = [
        {"params": part, "lr": config[rate], "weight_decay": config[decay]}
        for part, rate, decay in zip(model.groups(), RATES, DECAYS, strict=True)
    ]
    trained = optimizer(groups, {**config, "optimizer": "adamw"})
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(data.train, seed, 16),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("shakespeare-many", "many", STEPS, SPACE, build, SENSIBLE, options=OPTIONS)
