"""Losses that use up their batch, and loaders that use it again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..cases import entropy
from ..fuzz.loops import Loop
from .networks import looped, mlp


def written() -> Loop:
    return looped(mlp(), lambda m, b: (b[0].div_(4), entropy(m, b))[1])


def written_under_no_grad() -> Loop:
    def train(model, batch):
        with torch.no_grad():
            batch[0].sub_(batch[0].mean(0)).mul_(0.5)
        return entropy(model, batch)

    return looped(mlp(), train)


def labels_written() -> Loop:
    def train(model, batch):
        batch[1][::4] = (batch[1][::4] + 1) % 3
        return entropy(model, batch)

    return looped(mlp(), train)


def popped_from_a_dict() -> Loop:
    return looped(
        mlp(),
        lambda m, b: F.cross_entropy(m(b.pop("x")), b.pop("y")),
        shape=lambda pair: {"x": pair[0], "y": pair[1]},
    )


def popped_from_a_list() -> Loop:
    def train(model, batch):
        labels = batch.pop()
        return F.cross_entropy(model(batch.pop()), labels)

    return looped(mlp(), train, shape=list)


def emptied_in_depth() -> Loop:
    def train(model, batch):
        views = batch["views"]
        return sum(F.cross_entropy(model(views.pop()), batch["y"]) / (1 + len(views)) for _ in range(2))

    return looped(mlp(), train, shape=lambda pair: {"views": [pair[0], 0.5 * pair[0]], "y": pair[1]})


@dataclass
class Sample:
    x: Tensor
    y: Tensor
    seen: int = 0


def object_written() -> Loop:
    def train(model, batch):
        batch.seen += 1
        batch.x = batch.x * (1 + batch.seen)
        return F.cross_entropy(model(batch.x), batch.y)

    return looped(mlp(), train, shape=lambda pair: Sample(*pair))


def iterator_used_up() -> Loop:
    def train(model, batch):
        return F.cross_entropy(model(next(batch)), next(batch))

    return looped(mlp(), train, shape=lambda pair: iter(list(pair)))


def generator_used_up() -> Loop:
    """A generator cannot be copied."""

    def train(model, batch):
        return F.cross_entropy(model(next(batch)), next(batch))

    return looped(mlp(), train, shape=lambda pair: (part for part in pair))


def refilled() -> Loop:
    kept = [torch.empty(16, 5, dtype=torch.double), torch.empty(16, dtype=torch.long)]
    return looped(mlp(), shape=lambda pair: [held.copy_(new) for held, new in zip(kept, pair, strict=True)])


def refilled_and_written() -> Loop:
    kept = [torch.empty(16, 5, dtype=torch.double), torch.empty(16, dtype=torch.long)]
    return looped(
        mlp(),
        lambda m, b: (b[0].mul_(0.5), entropy(m, b))[1],
        shape=lambda pair: [held.copy_(new) for held, new in zip(kept, pair, strict=True)],
    )


def refilled_through_numpy() -> Loop:
    kept = torch.empty(16, 5, dtype=torch.double)

    def shape(pair):
        kept.numpy()[:] = pair[0].numpy()
        return kept, pair[1]

    return looped(mlp(), shape=shape)


def views_of_one_tensor() -> Loop:
    """Inputs that overlap: a copy must keep what shares memory."""

    def train(model, batch):
        batch["all"].mul_(0.5)
        return F.cross_entropy(model(batch["x"]), batch["y"])

    return looped(mlp(), train, shape=lambda pair: {"all": (held := pair[0].clone()), "x": held[:], "y": pair[1]})


FOLLOWED = {
    "loss writes into the batch": written,
    "loss writes under no_grad": written_under_no_grad,
    "loss writes labels": labels_written,
    "loss pops from a dict": popped_from_a_dict,
    "loss pops from a list": popped_from_a_list,
    "loss pops from a list in a dict": emptied_in_depth,
    "loss writes into an object": object_written,
    "batch refilled": refilled,
    "batch refilled and written": refilled_and_written,
    "batch refilled through NumPy": refilled_through_numpy,
}
EITHER = {
    "batch of views": views_of_one_tensor,
    "batch is an iterator": iterator_used_up,
    "batch is a generator": generator_used_up,
}
