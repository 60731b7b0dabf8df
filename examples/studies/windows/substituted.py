"""Whole exact windows of small networks of one function each, by our kernel of it and by torch's own.

A call's second derivative is not all that a kernel is for. Torch computes some gradients by other operations where they
will be differentiated, and those round otherwise than the plain step's: a window that differentiates what was trained
must then run each step again, where with equal bits it keeps the graph of the plain pass.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median, quantiles

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from measuring import growth, seconds
from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Problem
from study import Row, markdown
from windows.cells import PLAIN, differentiated, distance, graphs, way
from windows.inner import OPTIMIZERS, Inner, loss, options

STEPS, CHECKED = 20, 5  # of the windows that are timed, and of those that must agree in float64
REPETITIONS = 9
MODES = ("kept", "recomputed")
CLASSES, SIDE, TIME, WIDTH = 10, 14, 64, 64
MIB = 2**20


class Attending(nn.Module):
    """Attention of four heads over a sequence, without a normalisation, and the mean of what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.ask, self.tell = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, seen: Tensor) -> Tensor:
        """Of [batch, time, width]."""
        query, key, value = self.ask(seen).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(query, key, value)
        told: Tensor = self.tell(heard.transpose(1, 2).flatten(2).mean(1))
        return told


class Prototypes(nn.Module):
    """Classes by the distance from a prototype of each."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, WIDTH))
        self.prototypes = nn.Parameter(torch.randn(CLASSES, WIDTH))

    def forward(self, seen: Tensor) -> Tensor:
        """Of [batch, width]."""
        return -torch.cdist(self.body(seen), self.prototypes)


def perceptron(between: Callable[[], nn.Module], inputs: int = WIDTH, width: int = 256) -> nn.Module:
    """Two hidden layers."""
    hidden = [nn.Linear(inputs, width), between(), nn.Linear(width, width), between()]
    return nn.Sequential(*hidden, nn.Linear(width, CLASSES))


def normalised(width: int = 512) -> nn.Module:
    """A hidden layer's normalisation, and its activation."""
    return nn.Sequential(nn.LayerNorm(width), nn.Tanh())


def convolutional(norm: Callable[[int], nn.Module]) -> nn.Module:
    """Two convolutions, each with a normalisation."""
    first = [nn.Conv2d(1, 16, 3, padding=1), norm(16), nn.ReLU(), nn.AvgPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), norm(32), nn.ReLU()]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * (SIDE // 2) ** 2, CLASSES))


# By the function: a network that calls it, and the shape of a batch. Of small tensors layer normalisation is left to
# torch, as `cdist` is beyond 25 rows.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "silu": (lambda: perceptron(nn.SiLU), (1024, WIDTH)),
    "silu, 128 rows": (lambda: perceptron(nn.SiLU), (128, WIDTH)),
    "layer_norm": (lambda: perceptron(normalised, width=512), (1024, WIDTH)),
    "attention": (Attending, (16, TIME, WIDTH)),
    "batch_norm": (lambda: convolutional(nn.BatchNorm2d), (64, 1, SIDE, SIDE)),
    "group_norm": (lambda: convolutional(lambda wide: nn.GroupNorm(4, wide)), (64, 1, SIDE, SIDE)),
    "instance_norm": (lambda: convolutional(lambda wide: nn.InstanceNorm2d(wide, affine=True)), (64, 1, SIDE, SIDE)),
    "cdist": (Prototypes, (24, WIDTH)),
}


@dataclass(frozen=True)
class Windows:
    """Windows of one network: a key of `NETWORKS`, their steps, and how often each is timed."""

    name: str
    steps: int = STEPS
    repetitions: int = REPETITIONS


def cells() -> list[Windows]:
    """Of every network."""
    return [Windows(name) for name in NETWORKS]


def smallest() -> list[Windows]:
    """Two quick ones, one of which torch cannot do."""
    return [Windows(name, 2, 1) for name in ("group_norm", "cdist")]


def problem(cell: Windows, *, ours: bool, dtype: torch.dtype = torch.float32) -> Inner:
    """A fresh network with its window of SGD, three options of which are adapted."""
    make, shape = NETWORKS[cell.name]
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().to(dtype)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    told = Problem(model, optimizer, loss, loss, options(optimizer, 3))
    told.substitutes = ours
    batches = [
        (torch.randn(shape, generator=generator).to(dtype), torch.randint(CLASSES, shape[:1], generator=generator))
        for _ in range(cell.steps + 1)
    ]
    return Inner(told, batches[:-1], batches[-1:], loss)


def run(cell: Windows) -> list[Row]:
    """Every mode with our kernel and without, each repetition one after the other, each in plain steps before it."""
    torch.set_num_threads(1)
    ways = [(mode, ours) for mode in MODES for ours in (True, False)]
    inners = {(mode, ours): problem(cell, ours=ours) for mode, ours in ways}
    off, said = _agreed(cell)
    ways = [each for each in ways if each[1] or not said]
    held = {each: growth(lambda each=each: differentiated(way(each[0]), inners[each])) for each in ways}
    ratios: dict[tuple[str, bool], list[float]] = {each: [] for each in ways}
    order = Random(0)
    for _ in range(cell.repetitions):
        for each in order.sample(ways, len(ways)):  # what the one before left in memory counts
            ratios[each].append(_in_plain_steps(cell, each[0], inners[each]))
    return [
        {"part": "windows", "function": cell.name, "mode": mode, "ours": ours, "error": off, "said": said}
        | {"steps": ratios[mode, ours], "growth": held[mode, ours]}
        | {"graphs": mode == "kept" and graphs(inners[mode, ours].problem, cell.steps)}
        for mode, ours in ways
    ]


def _agreed(cell: Windows) -> tuple[float, str]:
    """How far torch's answer in float64 is from ours; or why it has none."""
    short = Windows(cell.name, CHECKED)
    ours, theirs = (problem(short, ours=which, dtype=torch.float64) for which in (True, False))
    truth = differentiated(way("recomputed"), ours)
    try:
        return distance(ours.problem, differentiated(way("recomputed"), theirs), truth), ""
    except ArgumentError:
        return float("nan"), "torch has no second derivative"


def _in_plain_steps(cell: Windows, mode: str, told: Inner) -> float:
    with told.problem.rewound():
        plain = seconds(lambda: told.plain(PLAIN)) / PLAIN
    return seconds(lambda: differentiated(way(mode), told)) / cell.steps / plain


# ---- the page ----


def section(rows: Sequence[Row]) -> Iterator[str]:
    """Tables, and what they come to."""
    found = {(row["function"], row["mode"], row["ours"]): row for row in rows}
    yield "## Whole exact windows"
    yield (
        f"A window of {STEPS} steps of a small network that calls the function, by SGD with three hyperparameters, with"
        " our kernel and with torch's own: a step of the window, its plain step and its share of the outer gradient"
        " included, in plain steps of the same network that are timed right before it; and memory growth, MiB. One"
        f" thread, processor time, {REPETITIONS} repetitions in turn in one process, medians; in brackets the"
        " quartiles of the ratio of torch's to ours. `kept`: graphs of the plain steps where they have the same bits"
        " with a graph as without; else (`run again`) and under `recomputed` each step is run a second time. The last"
        " column is how far the answers lie apart in float64, of each hyperparameter's largest entry."
    )
    heads = ["function", "mode", "steps, ours", "steps, torch's", "ratio", "MiB, ours", "MiB, torch's", "apart"]
    yield markdown(heads, [_line(found, name, mode) for name in _names(rows) for mode in MODES])
    yield "\n".join(_conclusions(rows, found))


def _line(found: dict[tuple[str, str, bool], Row], name: str, mode: str) -> list[object]:
    ours, theirs = found[name, mode, True], found.get((name, mode, False))
    if theirs is None:
        return [name, mode, _steps(ours), ours["said"], "-", ours["growth"] / MIB, "-", "-"]
    low, middle, high = spread(ours, theirs)
    sizes = [row["growth"] / MIB for row in (ours, theirs)]
    ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return [name, mode, _steps(ours), _steps(theirs), ratio, *sizes, f"{ours['error']:.0e}"]


def _steps(row: Row) -> str:
    again = row["mode"] == "kept" and not row["graphs"]
    return f"{median(row['steps']):.3g}{' (run again)' if again else ''}"


def spread(ours: Row, theirs: Row) -> tuple[float, float, float]:
    """Quartiles of torch's price over ours, repetition by repetition."""
    pairs = [t / o for o, t in zip(ours["steps"], theirs["steps"], strict=True)]
    low, middle, high = quantiles(pairs, n=4, method="inclusive") if len(pairs) > 1 else pairs * 3
    return low, middle, high


def _names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["function"] for row in rows))


def _conclusions(rows: Sequence[Row], found: dict[tuple[str, str, bool], Row]) -> Iterator[str]:
    names = _names(rows)
    both = [name for name in names if (name, "kept", False) in found]
    kept = [n for n in both if found[n, "kept", True]["graphs"] and not found[n, "kept", False]["graphs"]]
    spreads = {(n, m): spread(found[n, m, True], found[n, m, False]) for n in both for m in MODES}

    def told(every: Sequence[str], mode: str) -> str:
        return ", ".join(f"{name} {spreads[name, mode][1]:.2f}" for name in every) or "none"

    missing = [name for name in names if name not in both]
    yield f"- Without a kernel there is no exact window at all of {', '.join(missing) or 'none'}."
    yield f"- By torch's own no graph can be kept, for its bits are not the plain step's: {told(kept, 'kept')} times."
    for mode in MODES:
        saved = [name for name in both if spreads[name, mode][0] > 1]
        yield f"- A kernel saves time, `{mode}` (torch's over ours, quartiles above one): {told(saved, mode)}."
        lost = [name for name in both if spreads[name, mode][2] < 1]
        yield f"- It costs time, `{mode}` (quartiles below one): {told(lost, mode)}."
    idle = [name for name in both if name not in kept and all(spreads[name, mode][0] <= 1 for mode in MODES)]
    yield f"- A kernel pays for nothing in whole windows, neither time nor graphs: {', '.join(idle) or 'none'}."
