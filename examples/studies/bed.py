"""The test bed: how well does each forecaster foretell the hypergradient at the end of real trainings?

Recording and scoring are apart. Recorded cases, windows beside their exact truths, lie under `results/bed/cells`, one
file a run, and `cases.load_cases` reads them; scoring them all takes seconds.
"""

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from cases import load_cases, row_of
from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.validation.recording import Plan, RecordedRun, record_cases
from scoring import publish
from study import Row, study
from tasks import TASKS, Task, loss, optimizer
from tasks.quadratic import Point, points
from tasks.relabelled import FlaggedBatches, quadratic_loss, quadratic_train_loss, relabelled, train_loss

QUADRATIC = Task("quadratic", points, Point, 300)
SEEDS = (100, 101)  # 0 to 9 are kept for final comparisons
STEPS, FULL_STEPS, FULL_SIZE, VAL_SIZE = 300, 150, 1000, 100
WINDOW = 40
PLACES = (0.05, 0.3, 0.6, 0.85)  # of training, where windows start
SPREAD = 5.0  # from one learning rate to the next

# A sensible learning rate for SGD with momentum .9 and for AdamW, found by eye.
RATES = {
    "quadratic": (0.1, 0.1),
    "digits-linear": (0.1, 0.02),
    "digits-mlp": (0.05, 0.003),
    "digits-cnn": (0.05, 0.005),
    "digits-gru": (0.1, 0.005),
    "digits-transformer": (0.05, 0.003),
    "letter-linear": (0.1, 0.02),
    "letter-mlp": (0.05, 0.005),
    "fashion-mlp": (0.02, 0.002),
    "fashion-cnn": (0.03, 0.003),
    "shakespeare-gru": (0.2, 0.005),
    "shakespeare-transformer": (0.1, 0.003),
}
CHEAP = ("quadratic", "digits-linear", "digits-mlp", "letter-linear", "letter-mlp")
MIDDLING = ("digits-cnn", "digits-gru", "digits-transformer", "fashion-mlp")
SLOW = ("fashion-cnn", "shakespeare-gru", "shakespeare-transformer")


@dataclass(frozen=True)
class Cell:
    """One training run.

    Args:
        task: A name of `TASKS`, or `quadratic`.
        optimizer: `sgd` (momentum .9) or `adamw`.
        batch: Examples in a batch; 0 for full batches.
        lr: Learning rate.
        schedule: `constant` or `cosine`.
        seed: Of weights, orders, relabelling and of the other hyperparameters' values.
    """

    task: str
    optimizer: str
    batch: int
    lr: float
    schedule: str
    seed: int

    @property
    def steps(self) -> int:
        """Inner steps of the run."""
        return STEPS if self.batch else FULL_STEPS


def adapted(cell: Cell) -> tuple[Hyperparameter, ...]:
    """The hyperparameters at their values in this run; weight decay and those of the loss are drawn."""
    draw = random.Random(hashlib.sha256(repr(cell).encode()).digest())
    decay, smoothing, weight = (
        math.exp(draw.uniform(math.log(a), math.log(b))) for a, b in ((1e-5, 3e-2), (5e-3, 0.3), (0.05, 1.5))
    )
    return (
        Hyperparameter("lr", cell.lr, 1e-4, 1.0, "log"),
        Hyperparameter("momentum" if cell.optimizer == "sgd" else "beta1", 0.9, 0.0, 0.999, "logit"),
        Hyperparameter("weight_decay", decay, 1e-6, 1e-1, "log"),
        Hyperparameter("smoothing", smoothing, 1e-3, 0.5, "log"),
        Hyperparameter("noisy_weight", weight, 0.01, 2.0, "log"),
    )


def problem_of(cell: Cell) -> Problem:
    """The bilevel problem of a run, at its start."""
    task = QUADRATIC if cell.task == "quadratic" else TASKS[cell.task]
    hyper = adapted(cell)
    model = task.model(cell.seed)
    lr, momentum, decay = (float(h.value) for h in hyper[:3])
    losses = (quadratic_train_loss, quadratic_loss) if task is QUADRATIC else (train_loss, loss)
    return Problem(model, optimizer(cell.optimizer, model, lr, momentum, decay), *losses, hyper)


def course_of(cell: Cell) -> RecordedRun:
    """The data of a run."""
    data = (QUADRATIC if cell.task == "quadratic" else TASKS[cell.task]).data()
    classes = int(data.train[1].max()) + 1
    train = relabelled(data.train, classes, cell.seed, None if cell.batch else FULL_SIZE)

    def order(draw: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return iter(FlaggedBatches(train, 1000 * cell.seed + draw, cell.batch or None))

    val = list(zip(data.val[0].split(VAL_SIZE), data.val[1].split(VAL_SIZE), strict=True))
    return RecordedRun(list(islice(order(0), cell.steps)), order, val, factors(cell))


def factors(cell: Cell) -> list[float]:
    """The schedule of a run."""
    cosine = [0.5 + 0.5 * math.cos(math.pi * step / cell.steps) for step in range(cell.steps)]
    return cosine if cell.schedule == "cosine" else [1.0] * cell.steps


def plan_of(cell: Cell) -> Plan:
    """Four windows, the last of them a few steps ahead of the end at the latest; full batches have one future only."""
    latest = cell.steps - WINDOW - 5
    starts = tuple(min(round(place * cell.steps), latest) for place in PLACES)
    return Plan(starts, WINDOW, futures=3 if cell.batch else 1)


def record(cell: Cell) -> list[Row]:
    """The cases of one run as rows."""
    problem, course = problem_of(cell), course_of(cell)
    about = {"task": cell.task, "optimizer": cell.optimizer, "batch": str(cell.batch), "schedule": cell.schedule}
    about |= {"lr": f"{cell.lr:g}", "seed": str(cell.seed)}
    run = "/".join(about.values())
    return [row_of(case) for case in record_cases(problem, course, problem.start_values(), plan_of(cell), run, about)]


def cells(smoke: bool) -> list[Cell]:
    """The runs, so ordered that a recording cut short holds some of every kind."""
    if smoke:
        return [_cell("digits-linear", "sgd", 32, 0, 0, 100), _cell("digits-linear", "adamw", 0, 0, 1, 100)]
    first, second = SEEDS
    rounds = [  # task, batch, power of the spread of learning rates, seed
        *((task, 32, 0, first) for task in CHEAP + MIDDLING),
        *((task, 0, 0, first) for task in CHEAP),
        *((task, 32, power, first) for power in (-1, 1) for task in CHEAP),
        *((task, 0, power, first) for power in (-1, 1) for task in CHEAP),
        *((task, 32, power, first) for power in (-1, 1) for task in MIDDLING),
        *((task, 32, 0, first) for task in SLOW),
        *((task, 32, power, second) for power in (0, -1, 1) for task in CHEAP),
        *((task, 0, 0, second) for task in (*CHEAP, "digits-cnn", "digits-gru")),
    ]
    return list(dict.fromkeys(cell for told in rounds for cell in _pair(*told)))


def _pair(task: str, batch: int, power: int, seed: int) -> list[Cell]:
    """A run with each optimizer, one at a constant rate and one along a cosine, which alternates."""
    turn = sum(map(ord, task)) + power + seed + (batch == 0)
    return [_cell(task, name, batch, power, (turn + index) % 2, seed) for index, name in enumerate(("sgd", "adamw"))]


def _cell(task: str, name: str, batch: int, power: int, schedule: int, seed: int) -> Cell:
    lr = RATES[task][("sgd", "adamw").index(name)] * SPREAD**power
    return Cell(task, name, batch, float(f"{lr:.3g}"), ("constant", "cosine")[schedule], seed)


if __name__ == "__main__":
    here = study("bed", __doc__)
    here.rows(cells(here.smoke), record)
    publish(here, load_cases(here.out / "cells"))
