"""A data set in three parts, and its batches."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Split:
    """Inputs and targets to train, to validate (the outer problem), and to test."""

    train: Batch
    val: Batch
    test: Batch

    @classmethod
    def cut(cls, inputs: Tensor, targets: Tensor, sizes: tuple[int, int, int]) -> "Split":
        """Parts of given sizes in an order that is the same every time."""
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))[: sum(sizes)]
        pieces = zip(inputs[order].split(sizes), targets[order].split(sizes), strict=True)
        train, val, test = pieces
        return cls(train, val, test)


class Shuffled:
    """Batches in an order of their own, drawn anew for each epoch from `generator`.

    Args:
        data: Inputs and targets, or any tensors whose rows belong together.
        seed: Of the order.
        size: Examples in a batch; `None` for all of them. The last, smaller batch of an epoch is left out.
    """

    def __init__(self, data: tuple[Tensor, ...], seed: int, size: int | None = 32) -> None:
        self.data = data
        self.size = size or len(data[0])
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Any]:
        """One epoch."""
        order = torch.randperm(len(self.data[0]), generator=self.generator)
        for rows in order[: len(order) // self.size * self.size].split(self.size):
            yield tuple(part[rows] for part in self.data)
