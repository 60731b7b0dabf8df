"""Data, classification: Fashion-MNIST from 40 annotators, 0 to 100 % wrong, weighed, by a perceptron; SGD, cosine."""

import torch
import torch.nn.functional as F
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Shuffled, batches, optimizer, perceptron, reweighted, schedule, stacked
from suites.task import Config, Hyper, Task, Training
from suites.tuning.data import mislabelled, small_fashion

STEPS = 800
ANNOTATORS = 40
WEIGHTS = [f"annotator_{annotator}" for annotator in range(ANNOTATORS)]
SPACE = {
    "width": tune.choice([16, 32, 64]),
    "activation": tune.choice(["relu", "tanh", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    **{name: tune.uniform(0.0, 1.0) for name in WEIGHTS},
}
SENSIBLE = {
    "width": 32,
    "activation": "gelu",
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    **dict.fromkeys(WEIGHTS, 0.5),
}


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    images, labels, annotators = batch
    losses = F.cross_entropy(model(images), labels, reduction="none")
    return reweighted(losses, stacked(hyper, WEIGHTS), annotators)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def wrong() -> Tensor:
    """The share of wrong labels of each annotator."""
    return torch.linspace(0, 1, ANNOTATORS)[torch.randperm(ANNOTATORS, generator=torch.Generator().manual_seed(1))]


def build(config: Config, seed: int) -> Training:
    data = small_fashion(2_000)
    images, labels = data.train
    annotators = torch.arange(len(labels)) % ANNOTATORS
    torch.manual_seed(seed)
    model = perceptron(196, config["width"], 1, 10, config["activation"])
    trained = optimizer(list(model.parameters()), {**config, "optimizer": "sgd"})
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled((images, mislabelled(labels, annotators, wrong(), 10), annotators), seed),
        batches(data.val, 100),
        batches(data.test, 1000),
    )


TASK = Task("fashion-annotators", "data", STEPS, SPACE, build, SENSIBLE)
