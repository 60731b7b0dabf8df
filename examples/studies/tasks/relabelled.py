"""Training data of which a share is wrong and flagged, and a loss that reads two hyperparameters of its own.

`smoothing` is the strength of label smoothing; `noisy_weight` the weight of the flagged examples.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from tasks.split import Batch, Shuffled

Flagged = tuple[Tensor, Tensor, Tensor]  # inputs, targets, one where the example is wrong
WRONG = 0.2


def relabelled(data: Batch, classes: int, seed: int, most: int | None = None) -> Flagged:
    """The first `most` examples with a fifth of them relabelled at random: whole sequences, or whole shifted points.

    Args:
        data: Inputs and targets; targets of one class (all zero) mark regression, whose inputs are shifted instead.
        classes: Labels to draw from.
        seed: Of the draw.
        most: Examples to keep; all by default.
    """
    inputs, targets = (part[:most].clone() for part in data)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(targets), generator=generator) < WRONG
    if classes > 1:
        targets[wrong] = torch.randint(classes, targets[wrong].shape, generator=generator)
    else:
        inputs[wrong] += 3 * torch.randn(inputs.shape[1], generator=generator)
    return inputs, targets, wrong.float()


class FlaggedBatches:
    """Batches of flagged examples, drawn as `Shuffled` draws, epoch after epoch without end."""

    def __init__(self, data: Flagged, seed: int, size: int | None = 32) -> None:
        self.data = data
        rows = torch.arange(len(data[1]))
        self.order = Shuffled((rows, rows), seed, size)

    def __iter__(self) -> Iterator[Flagged]:
        """Endless."""
        while True:
            for rows, _ in self.order:
                inputs, targets, wrong = self.data
                yield inputs[rows], targets[rows], wrong[rows]


def train_loss(model: nn.Module, batch: Flagged, hyper: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy with smoothed labels, the wrong examples weighted."""
    inputs, targets, wrong = batch
    logs = model(inputs).log_softmax(-1)
    plain = -logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    each = (1 - hyper["smoothing"]) * plain - hyper["smoothing"] * logs.mean(-1)
    return _weighted(each, wrong, hyper)


def quadratic_train_loss(model: nn.Module, batch: Flagged, hyper: Mapping[str, Tensor]) -> Tensor:
    """Half the squared distance; smoothing draws the examples towards zero."""
    inputs, _, wrong = batch
    return _weighted(0.5 * model((1 - hyper["smoothing"]) * inputs).square().sum(-1), wrong, hyper)


def quadratic_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Half the squared distance."""
    return 0.5 * model(batch[0]).square().sum(-1).mean()


def _weighted(each: Tensor, wrong: Tensor, hyper: Mapping[str, Tensor]) -> Tensor:
    weights = 1 + wrong * (hyper["noisy_weight"] - 1)
    return (weights * each.flatten(1).mean(1) if each.ndim > 1 else weights * each).mean()
