"""Data, language: English prose by a GRU, learnt from 14 sources, of which few are prose; a weight each; cosine."""

import codecs
import random
from collections.abc import Callable
from functools import cache

import torch
from ray import tune
from torch import Tensor, nn

from suites.blocks import Batch, Recurrent, Shuffled, batches, optimizer, reweighted, schedule, stacked, symbol_loss
from suites.held_out.data import SYMBOLS, package, prose, sequences
from suites.task import Config, Hyper, Task, Training

STEPS = 250
LENGTH = 16
PACKAGES = ("email", "asyncio", "json")
ALTERED: dict[str, Callable[[str], str]] = {
    "shuffled": lambda text: "".join(random.Random(0).sample(text, len(text))),
    "reversed": lambda text: text[::-1],
    "rotated": lambda text: codecs.encode(text, "rot13"),
}
MISTAKEN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # targets that are no successors
    "drawn": lambda symbols, targets: targets.flatten()[_order(targets.numel())].view_as(targets),
    "repeated": lambda symbols, targets: symbols,
    "before": lambda symbols, targets: symbols.roll(1, 1),
    "ahead": lambda symbols, targets: targets.roll(-1, 1),
    "exchanged": lambda symbols, targets: targets[_order(len(targets))],
}
SOURCES = tuple(f"source_{name}" for name in ("first", "second", "third", *PACKAGES, *ALTERED, *MISTAKEN))
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([16, 32, 48]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
    **{name: tune.uniform(0.0, 1.0) for name in SOURCES},
}
SENSIBLE = {
    "optimizer": "adamw",
    "width": 32,
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    **dict.fromkeys(SOURCES, 0.5),
}


def _order(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


@cache
def _data() -> tuple[Batch, Batch, Batch]:
    """Sequences of the sources, 400 of each; 500 to validate and 1,000 to test, of topics of their own."""
    text = prose()
    fifth = len(text) // 5
    parts = [text[start * fifth : (start + 1) * fifth] for start in range(5)]
    told = [sequences(part, 400, LENGTH) for part in parts[:3]]
    told += [sequences(package(name), 400, LENGTH) for name in PACKAGES]
    told += [sequences(parts[0], 400, LENGTH, alter) for alter in ALTERED.values()]
    told += [(told[1][0], mistake(*told[1])) for mistake in MISTAKEN.values()]
    symbols, targets = (torch.cat(part) for part in zip(*told, strict=True))
    train = symbols, targets, torch.arange(len(SOURCES)).repeat_interleave(400)
    return train, sequences(parts[3], 500, LENGTH), sequences(parts[4], 1000, LENGTH)


def train_loss(model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
    symbols, targets, sources = batch
    return reweighted(symbol_loss(model(symbols), targets), stacked(hyper, SOURCES), sources)


def val_loss(model: nn.Module, batch: Batch) -> Tensor:
    return symbol_loss(model(batch[0]), batch[1]).mean()


def build(config: Config, seed: int) -> Training:
    train, val, test = _data()
    torch.manual_seed(seed)
    model = Recurrent(SYMBOLS, config["width"])
    trained = optimizer(list(model.parameters()), config)
    return Training(
        model,
        trained,
        schedule("cosine", trained, STEPS),
        train_loss,
        val_loss,
        Shuffled(train, seed, 64),
        batches(val, 100),
        batches(test, 500),
    )


TASK = Task("code-mixture", "data", STEPS, SPACE, build, SENSIBLE)
