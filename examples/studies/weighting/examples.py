"""Training sets whose examples do not all deserve the same weight; validation and test stay clean and balanced."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tasks import Batch, Split

CLASSES = 10
MEMORY = 0.7  # of the moving average over epochs
NAIVE = 2  # epochs in which the network's judgement ranks nobody


class Weighable(NamedTuple):
    """A batch whose examples can be weighed.

    Args:
        inputs: Shape [example, 1, side, side].
        labels: As given, right or wrong, shape [example].
        rows: Place of each example in the training set, shape [example].
        judged: What the network has thought of them, see `Watched`, shape [example, 3].
    """

    inputs: Tensor
    labels: Tensor
    rows: Tensor
    judged: Tensor


@dataclass(frozen=True)
class Examples:
    """A training set with what is known of it, for an oracle and for the figures.

    Args:
        split: Training, validation and test data; the network sees the training labels as they are here.
        clean: Which training labels are right, shape [example].
    """

    split: Split
    clean: Tensor

    @property
    def counts(self) -> Tensor:
        """Training examples of each class, shape [class]."""
        return self.split.train[1].bincount(minlength=CLASSES)

    def lent(self, share: float) -> "Examples":
        """The first of the validation examples given to training; all of them (a share of 1) stay to validate too."""
        count = round(share * len(self.split.val[1]))
        more = tuple(part[:count] for part in self.split.val)
        train = tuple(torch.cat(pair) for pair in zip(self.split.train, more, strict=True))
        left = tuple(part[count:] for part in self.split.val) if share < 1 else self.split.val
        clean = torch.cat([self.clean, torch.ones(count, dtype=torch.bool)])
        return Examples(replace(self.split, train=train, val=left), clean)


def relabelled(data: Split, share: float, seed: int) -> Examples:
    """Replace the labels of a share of the training examples by ones drawn uniformly, the right one included."""
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = data.train
    hit = torch.rand(len(labels), generator=generator) < share
    given = torch.where(hit, torch.randint(CLASSES, labels.shape, generator=generator), labels)
    return Examples(replace(data, train=(inputs, given)), given == labels)


def long_tailed(pool: Split, head: int, imbalance: float, val: int, seed: int) -> Examples:
    """Keep fewer training examples of each next class, from `head` down to `head / imbalance`; `val` in all balanced.

    Which class is how frequent, and which of its examples are kept, is drawn from the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(CLASSES, generator=generator)
    kept = [round(head * imbalance ** (-place / (CLASSES - 1))) for place in range(CLASSES)]
    train = _drawn(pool.train, dict(zip(order.tolist(), kept, strict=True)), generator)
    balanced = _drawn(pool.val, dict.fromkeys(range(CLASSES), val // CLASSES), generator)
    return Examples(Split(train, balanced, pool.test), torch.ones(len(train[1]), dtype=torch.bool))


def _drawn(data: Batch, counts: dict[int, int], generator: torch.Generator) -> Batch:
    """So many examples of each class.

    Raises:
        ValueError: There are not as many.
    """
    order = torch.randperm(len(data[1]), generator=generator)
    places = {kind: order[data[1][order] == kind] for kind in counts}
    short = [kind for kind, count in counts.items() if len(places[kind]) < count]
    if short:
        raise ValueError(f"classes {short} have fewer examples than {[counts[kind] for kind in short]}")
    rows = torch.cat([places[kind][:count] for kind, count in counts.items()])
    return data[0][rows], data[1][rows]


class Watched:
    """Batches in an order drawn anew for each epoch, with a moving average of what the network thinks of each example.

    At the start of each epoch the network judges the whole training set: the log-probability of an example's label,
    that of the likeliest other one, and the share of examples whose labels it finds likelier (zero for all in the
    first epochs). What it thought in earlier epochs counts as well, for a label that is wrong is recognised best before
    it was learned by heart.

    Args:
        data: Inputs and labels.
        model: The network that is being trained.
        seed: Of the order.
        size: Examples in a batch; the last, smaller one of an epoch is left out.
        watching: Whether the network judges; what it thinks is all zero otherwise.
    """

    def __init__(self, data: Batch, model: nn.Module, seed: int, size: int, *, watching: bool) -> None:
        self.data, self.model, self.size, self.watching = data, model, size, watching
        self.generator = torch.Generator().manual_seed(seed)
        self.judged = torch.zeros(len(data[1]), 3)
        self._epochs = 0

    def __iter__(self) -> Iterator[Weighable]:
        """One epoch."""
        if self.watching:
            self._watch()
        inputs, labels = self.data
        order = torch.randperm(len(labels), generator=self.generator)
        for rows in order[: len(order) // self.size * self.size].split(self.size):
            yield Weighable(inputs[rows], labels[rows], rows, self.judged[rows])

    @torch.no_grad()
    def _watch(self) -> None:
        inputs, labels = self.data
        logs = torch.cat([self.model(part).log_softmax(-1) for part in inputs.split(1000)])
        own = logs.gather(1, labels[:, None])
        other = logs.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
        share = 1 - MEMORY if self._epochs else 1.0
        told = torch.lerp(self.judged[:, :2], torch.cat([own, other], 1), share)
        rank = told[:, 0].argsort(descending=True).argsort() / len(labels) * (self._epochs >= NAIVE)
        self.judged = torch.cat([told, rank[:, None]], 1)
        self._epochs += 1
