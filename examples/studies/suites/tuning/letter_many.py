"""Many, classification: a thousand letters by a perceptron whose layers each have options and noise; AdamW, cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, NoisyPerceptron, Shuffled, batches, optimizer, schedule, smoothed, stacked
from suites.task import Config, Hyper, Option, Task, Training
from suites.tuning.data import letters

STEPS = 800
LAYERS = range(4)
RATES, DECAYS = ([f"{name}_{layer}" for layer in LAYERS] for name in ("lr", "decay"))
NOISES = [f"noise_{layer}" for layer in LAYERS[:-1]]
INPUTS = [f"input_noise_{feature}" for feature in range(16)]
SPACE = {
    "width": tune.choice([32, 64, 128]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    **{name: tune.loguniform(1e-5, 1e-1) for name in RATES},
    **{name: tune.loguniform(1e-4, 10.0) for name in DECAYS},
    "momentum": tune.uniform(0.0, 0.99),
    "beta2": tune.uniform(0.9, 0.9999),
    "smoothing": tune.uniform(0.0, 0.5),
    **{name: tune.uniform(0.0, 1.5) for name in NOISES},
    **{name: tune.loguniform(1e-2, 3.0) for name in INPUTS},
}
SENSIBLE = {
    "width": 64,
    "activation": "gelu",
    **dict.fromkeys(RATES, 0.005),
    **dict.fromkeys(DECAYS, 0.01),
    "momentum": 0.9,
    "beta2": 0.999,
    "smoothing": 0.05,
    **dict.fromkeys(NOISES, 0.3),
    **dict.fromkeys(INPUTS, 0.1),
}
OPTIONS = {name: Option("lr", (layer,)) for layer, name in enumerate(RATES)}
OPTIONS |= {name: Option("weight_decay", (layer,)) for layer, name in enumerate(DECAYS)}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    features, labels = batch
    features = features + stacked(hyper, INPUTS) * torch.randn_like(features)
    logits = model(features, [hyper[name] for name in NOISES])
    return smoothed(logits, labels, hyper["smoothing"]).mean()


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def build(config: Config, seed: int) -> Training:
    data = letters(1_000)
    torch.manual_seed(seed)
    model = NoisyPerceptron([16, *[config["width"]] * (len(LAYERS) - 1), 26], config["activation"])
    groups = [
        {"params": list(layer.parameters()), "lr": config[rate], "weight_decay": config[decay]}
        for layer, rate, decay in zip(model.layers, RATES, DECAYS, strict=True)
    ]
    trained = optimizer(groups, {**config, "optimizer": "adamw"})
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


TASK = Task("letter-many", "many", STEPS, SPACE, build, SENSIBLE, options=OPTIONS)
