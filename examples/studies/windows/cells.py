"""One window by several ways: what it asks for, and what each way costs on a machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from measuring import growth, seconds
from ray_glocal.hypergradient import Problem
from study import Row
from windows.inner import Inner, inner
from windows.modes import HOST, MODES, tape
from windows.peers import PEERS

PLAIN = 20  # plain steps that are timed together
Way = Callable[[Problem, Sequence[Any], Sequence[Any]], Tensor]  # the hypergradient [q]


@dataclass(frozen=True)
class Setting:
    """The machine: where and with how many threads, and the bytes that a window may take."""

    device: str
    threads: int
    memory: int


@dataclass(frozen=True)
class Cell:
    """One window by several ways; the first is the truth that the others are held against."""

    part: str
    network: str
    scale: float
    optimizer: str
    hyper: str
    length: int
    ways: tuple[str, ...]
    repetitions: int
    setting: Setting
    precision: str = "float32"

    def inner(self, length: int, dtype: torch.dtype = torch.float32) -> Inner:
        """A fresh problem with a window of some length."""
        named = (self.network, self.scale, self.optimizer, self.hyper)
        return inner(*named, length, device=self.setting.device, dtype=dtype, precision=self.precision)


def way(name: str) -> Way:
    """A mode of the engine or a peer."""
    if name in PEERS:
        return PEERS[name].load()
    return lambda *window: {**MODES, **HOST}[name](*window).derivatives[-1]


def differentiated(way: Way, told: Inner) -> Tensor:
    """The hypergradient; everything comes back to where it was."""
    with told.problem.rewound():
        return way(told.problem, told.batches, told.val)


def held(way: Way, told: Inner, device: str) -> tuple[int, Tensor]:
    """Most bytes beyond those before, and the hypergradient; everything comes back to where it was."""
    found: list[Tensor] = []
    with told.problem.rewound():
        count = growth(lambda: found.append(way(told.problem, told.batches, told.val)), device)
    return count, found[0]


def distance(problem: Problem, found: Tensor, truth: Tensor) -> float:
    """The largest difference within a hyperparameter over its largest entry, of the worst hyperparameter."""
    sizes = [hyper.size for hyper in problem.hyperparameters]
    pairs = zip(found.split(sizes), truth.split(sizes), strict=True)
    return max(float((f - t).abs().max() / t.abs().max()) for f, t in pairs)


def foreseen(cell: Cell, name: str) -> float:
    """Bytes of a window, along a straight line through those of two short ones."""
    if cell.length <= 4:
        return 0.0
    short, longer = (held(way(name), cell.inner(steps), cell.setting.device)[0] for steps in (2, 4))
    return longer + (longer - short) / 2 * (cell.length - 4)


def graphs(problem: Problem, length: int) -> bool:
    """Whether graphs were kept."""
    keeping = tape(problem, length, "kept").keeping
    return keeping is not None and keeping.graphs


def asked(cell: Cell) -> Row:
    """What a row says of its cell."""
    keys = ("part", "network", "scale", "optimizer", "hyper", "length", "precision")
    return {key: getattr(cell, key) for key in keys}


def timed(cell: Cell, way: Way, told: Inner) -> Row:
    """Medians of the repetitions: seconds of a plain step and of one of the window, and the latter in the former."""
    device, plain, windows = cell.setting.device, [], []
    for _ in range(cell.repetitions):
        with told.problem.rewound():
            plain.append(seconds(lambda: told.plain(PLAIN), device) / PLAIN)
        with told.problem.rewound():
            windows.append(seconds(lambda: way(told.problem, told.batches, told.val), device) / cell.length)
    ratios = [window / step for window, step in zip(windows, plain, strict=True)]
    return {"plain": median(plain), "window": median(windows), "steps": median(ratios)}
