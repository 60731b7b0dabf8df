"""From poor starts: sessions beside the best of a 20-point grid under the cosine schedule that they share.

Every start has a learning rate of 1e-4 to 1, momentum .5 and a weight decay far too large; the session adapts all
three. The grid has 10 learning rates by 2 weight decays at momentum .9; its best point is the one with the smallest
mean validation loss. What is compared is the loss on the test split.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice, repeat
from statistics import geometric_mean, mean
from typing import Any

import torch

from ray_glocal import GlocalSession, Hyperparameter, Settings
from study import Row, markdown, study
from tasks import TASKS, Shuffled, Task, accuracy, loss, mean_loss, optimizer

CHOICES = {"digits-mlp": "sgd", "letter-mlp": "sgd", "digits-cnn": "adamw", "fashion-mlp": "sgd"}
STARTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
GRID_RATES = tuple(10 ** (-4 + 4 * k / 9) for k in range(10))
GRID_DECAYS = {"sgd": (1e-5, 1e-3), "adamw": (1e-2, 0.3)}
POOR_DECAY = {"sgd": 1e-2, "adamw": 0.3}
MOST_DECAY = {"sgd": 1e-1, "adamw": 1.0}
VERSION = 8  # of the session's defaults; a new one reruns the sessions, not the grid


@dataclass(frozen=True)
class Plain:
    """A plain run."""

    task: str
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Adapted:
    """A run with a session."""

    task: str
    optimizer: str
    lr: float
    seed: int
    steps: int
    version: int


def run(cell: Plain | Adapted) -> list[Row]:
    """Train, and measure what came of it."""
    task = TASKS[cell.task]
    start = time.process_time()
    model, more = plain(cell, task) if isinstance(cell, Plain) else adapted(cell, task)
    seconds = time.process_time() - start
    data = task.data()
    measured = {
        "val": mean_loss(model, data.val),
        "test": mean_loss(model, data.test),
        "accuracy": accuracy(model, data.test),
        "seconds": seconds,
    }
    return [{"kind": type(cell).__name__, **vars(cell), **measured, **more}]


def cosine(trained: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(trained, steps)


def plain(cell: Plain, task: Task) -> tuple[torch.nn.Module, dict[str, Any]]:
    model = task.model(cell.seed)
    trained = optimizer(cell.optimizer, model, cell.lr, cell.momentum, cell.weight_decay)
    schedule = cosine(trained, cell.steps)
    batches = chain.from_iterable(repeat(Shuffled(task.data().train, cell.seed)))
    for batch in islice(batches, cell.steps):
        trained.zero_grad()
        loss(model, batch).backward()
        trained.step()
        schedule.step()
    return model, {"cost": 1.0}


def adapted(
    cell: Adapted,
    task: Task,
    settings: Settings | None = None,
    timed: Callable[[GlocalSession], GlocalSession] = lambda session: session,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train with a session, which `timed` may give a clock of its own."""
    model, data, decay = task.model(cell.seed), task.data(), POOR_DECAY[cell.optimizer]
    trained = optimizer(cell.optimizer, model, cell.lr, 0.5, decay)
    session = timed(
        GlocalSession(
            model,
            trained,
            loss,
            loss,
            val_batches=list(zip(data.val[0].split(500), data.val[1].split(500), strict=True)),
            hyper=[
                Hyperparameter("lr", cell.lr, 1e-5, 3.0, "log"),
                Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit"),
                Hyperparameter("weight_decay", decay, 1e-6, MOST_DECAY[cell.optimizer], "log"),
            ],
            total_steps=cell.steps,
            lr_scheduler=cosine(trained, cell.steps),
            settings=settings,
        )
    )
    for batch in session.batches(Shuffled(data.train, cell.seed)):
        session.step(batch)
    told = session.metrics()
    ends = {f"end_{name}": told[f"hyper/{name}"] for name in ("lr", "momentum", "weight_decay")}
    return model, {
        "cost": told["cost/steps"] / cell.steps,
        "share": told["cost/share"],
        "overhead": told["cost/overhead"],
        **ends,
    }


def best_of(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """The runs of the grid point with the smallest mean validation loss, and those where the sessions start."""
    grid = [row for row in rows if row["momentum"] == 0.9]
    points = sorted({(row["lr"], row["weight_decay"]) for row in grid})
    runs = {point: [row for row in grid if (row["lr"], row["weight_decay"]) == point] for point in points}
    best = min(points, key=lambda point: mean(row["val"] for row in runs[point]))
    return runs[best], [row for row in rows if row["momentum"] == 0.5]


def summary(rows: list[Row]) -> tuple[str, list[float]]:
    """The table: for each task the grid's best test loss, and each start's ratio to it."""
    lines, ratios = [], []
    for name in dict.fromkeys(row["task"] for row in rows):
        of = [row for row in rows if row["task"] == name]
        best, poor = best_of([row for row in of if row["kind"] == "Plain"])
        sessions = [row for row in of if row["kind"] == "Adapted"]
        target = mean(row["test"] for row in best)
        line = [f"{name}, {of[0]['optimizer']}", f"{target:.4f} (lr {best[0]['lr']:.2g}, {best[0]['weight_decay']:g})"]
        for lr in dict.fromkeys(row["lr"] for row in sessions):
            ours = mean(row["test"] for row in sessions if row["lr"] == lr) / target
            without = mean(row["test"] for row in poor if row["lr"] == lr) / target
            ratios.append(ours)
            line.append(f"{ours:.2f} ({without:.1f})")
        line.append(f"{mean(row['cost'] for row in sessions):.2f}")
        line.append(f"{mean(row['seconds'] for row in sessions) / mean(row['seconds'] for row in best):.2f}")
        lines.append(line)
    starts = [f"from {lr:g}" for lr in dict.fromkeys(row["lr"] for row in rows if row["kind"] == "Adapted")]
    return markdown(["task", "best of the grid", *starts, "cost, steps", "cost, seconds"], lines), ratios


def draw(figure: Any, rows: list[Row]) -> None:
    """The grid's losses over its learning rates, and the sessions' beside them."""
    names = list(dict.fromkeys(row["task"] for row in rows))
    for place, task in enumerate(names):
        axes = figure.add_subplot(1, len(names), place + 1)
        of = [row for row in rows if row["task"] == task]
        for kind, style in (("Plain", "."), ("Adapted", "x")):
            shown = [row for row in of if row["kind"] == kind]
            rates, losses = ([row[name] for row in shown] for name in ("lr", "test"))
            axes.plot(rates, losses, style, label=kind.lower(), alpha=0.6)
        axes.set(xscale="log", yscale="log", title=task, xlabel="learning rate at the start")
    figure.axes[0].set_ylabel("test loss")
    figure.axes[0].legend()


def main() -> None:
    told = study("end_to_end", __doc__)
    choices = {"digits-mlp": "sgd"} if told.smoke else CHOICES
    seeds, starts = (range(1), (1e-2,)) if told.smoke else (range(5), STARTS)
    rates = GRID_RATES[5:9:2] if told.smoke else GRID_RATES
    cells: list[Plain | Adapted] = []
    for name, kind in choices.items():
        steps = 600 if told.smoke else TASKS[name].steps
        sessions = [Adapted(name, kind, lr, seed, steps, VERSION) for lr in starts for seed in seeds]
        poor = [Plain(name, kind, lr, 0.5, POOR_DECAY[kind], seed, steps) for lr in starts for seed in seeds[:1]]
        grid = [Plain(name, kind, r, 0.9, wd, seed, steps) for r in rates for wd in GRID_DECAYS[kind] for seed in seeds]
        cells += [*sessions, *grid, *poor]
    rows = told.rows(cells, run)
    table, ratios = summary(rows)
    text = (
        "Test loss, mean over the seeds, as a ratio to that of the best of the 20 grid points (picked by validation"
        " loss); in brackets, a plain run from the same start. Cost of a session in plain runs: counted in inner-step"
        " equivalents, and measured in processor seconds.\n\n"
        f"{table}\n\n"
        f"Geometric mean of the ratios {geometric_mean(ratios):.3f}; within 3 % of the grid's best:"
        f" {sum(ratio <= 1.03 for ratio in ratios)} of {len(ratios)}; within 10 %:"
        f" {sum(ratio <= 1.1 for ratio in ratios)}."
    )
    told.publish("From poor starts", text, rows, lambda figure: draw(figure, rows))


if __name__ == "__main__":
    main()
