"""The digits problem that the examples share: 8 x 8 images, 1,000 to train, 400 to validate, 397 to test."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
STEPS = 1600


def split(device: str = "cpu") -> tuple[Batch, Batch, Batch]:
    """Training, validation and test images with their labels, on a device; the same split every time."""
    raw = load_digits()
    order = torch.randperm(len(raw.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(raw.data / 16, dtype=torch.float32)[order]
    labels = torch.tensor(raw.target)[order]
    images, labels = images.to(device), labels.to(device)
    pieces = zip(images.split([1000, 400, 397]), labels.split([1000, 400, 397]), strict=True)
    train, val, test = pieces
    return train, val, test


class Shuffled:
    """Batches of 32 in an order of their own, drawn anew for each epoch from `generator`."""

    def __init__(self, data: Batch, seed: int) -> None:
        self.data = data
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch."""
        images, labels = self.data
        order = torch.randperm(len(labels), generator=self.generator)
        for rows in order.split(32)[:-1]:
            yield images[rows], labels[rows]


def network(width: int, seed: int) -> nn.Module:
    """A perceptron with one hidden layer."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, width), nn.GELU(), nn.Linear(width, 10))


def optimizer(name: str, model: nn.Module, config: dict[str, float]) -> torch.optim.Optimizer:
    """SGD or AdamW; what the space calls momentum is AdamW's beta1."""
    lr, momentum, weight_decay = config["lr"], config["momentum"], config["weight_decay"]
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(momentum, 0.999), weight_decay=weight_decay)


def cosine(steps: int, trained: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """An ordinary schedule; the session adapts the rate that it multiplies."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(trained, steps)


def loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy."""
    images, labels = batch
    return F.cross_entropy(model(images), labels)


@torch.no_grad()
def accuracy(model: nn.Module, data: Batch) -> float:
    """Share of images that are classified rightly."""
    images, labels = data
    return float((model(images).argmax(1) == labels).float().mean())
