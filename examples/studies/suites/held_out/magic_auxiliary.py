"""Data, several tasks: gamma or hadron from 240 labels, beside 13 other targets; a weight each; no schedule."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, schedule, stacked
from suites.held_out.data import magic
from suites.task import Config, Hyper, Task, Training

STEPS = 1000
ROWS, LABELLED = 960, 240
FLIPPED = (0.15, 0.3, 0.45, 0.6)  # of the weak labels, which all rows have, and which the same output answers
HIDDEN, PERMUTED, NOISE = (5, 9), (0, 1, 2, 3), 3  # features that are no inputs, features of other rows, pure noise
TARGETS = ("label", "weak_0", "weak_1", "weak_2", "weak_3", "hidden_0", "hidden_1")
TARGETS += ("permuted_0", "permuted_1", "permuted_2", "permuted_3", "noise_0", "noise_1", "noise_2")
WEIGHTS = tuple(f"weight_{name}" for name in TARGETS)
SEEN = (0, 1, 2, 3, 4, 6, 7, 8)
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    **{name: tune.loguniform(1e-3, 10.0) for name in WEIGHTS},
}
SENSIBLE = {
    "optimizer": "sgd",
    "activation": "relu",
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    **dict.fromkeys(WEIGHTS, 0.3),
    "weight_label": 1.0,
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    inputs, targets, told = batch
    answers, weights = model(inputs), stacked(hyper, WEIGHTS)
    binary = F.binary_cross_entropy_with_logits(answers[:, :1].expand(-1, 5), targets[:, :5], reduction="none") * told
    return binary.mean(0) @ weights[:5] + (answers[:, 1:] - targets[:, 5:]).square().mean(0) @ weights[5:]


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.binary_cross_entropy_with_logits(model(batch[0])[:, 0], batch[1])


def _told(features: Tensor, labels: Tensor) -> Batch:
    """Inputs, the 14 targets, and how much each of the first five counts: nothing where its label is not told."""
    generator = torch.Generator().manual_seed(0)
    rows = len(labels)
    weak = [(labels.bool() ^ (torch.rand(rows, generator=generator) < rate)).float() for rate in FLIPPED]
    permuted = [features[torch.randperm(rows, generator=generator), column] for column in PERMUTED]
    noise = torch.randn(rows, NOISE, generator=generator)
    targets = torch.stack([labels.float(), *weak, *(features[:, column] for column in HIDDEN), *permuted], 1)
    told = torch.ones(rows, 5)
    told[:, 0] = (torch.arange(rows) < LABELLED) * (rows / LABELLED)
    return features[:, SEEN], torch.cat([targets, noise], 1), told


def build(config: Config, seed: int) -> Training:
    data = magic()
    val, test = ((features[:, SEEN], labels.float()) for features, labels in (data.val, data.test))
    torch.manual_seed(seed)
    model = perceptron(8, 16, 2, 1 + len(TARGETS) - 5, config["activation"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("none", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(_told(data.train[0][:ROWS], data.train[1][:ROWS]), seed),
        batches(val, 100),
        batches(test, 1000),
    )


TASK = Task("magic-auxiliary", "data", STEPS, SPACE, build, SENSIBLE)
