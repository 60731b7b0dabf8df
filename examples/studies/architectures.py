"""Sessions from a poor start on perceptrons, convolutional, recurrent and attention networks.

The same training three times: at a sensible setting, from a start that no one would choose (a learning rate a thousand
times smaller, momentum .5, weight decay .1), and from that start with a session.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from statistics import geometric_mean, mean
from typing import Any

import torch

from ray_glocal import GlocalSession, Hyperparameter, Settings
from study import Row, Study, chosen, markdown, study
from tasks import OPTIMIZERS, TASKS, Batch, Shuffled, accuracy, loss, mean_loss, optimizer

ALL = (
    "digits-mlp",
    "digits-cnn",
    "digits-gru",
    "digits-transformer",
    "fashion-cnn",
    "shakespeare-gru",
    "shakespeare-transformer",
)
GRID = {"sgd": (0.01, 0.03, 0.1, 0.3, 1.0), "adamw": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}
GRID_SEED = 100
SENSIBLE = {"sgd": (0.9, 1e-4), "adamw": (0.9, 1e-2)}  # momentum and weight decay
POOR = (0.5, 0.1)
WORSE = 1e-3  # share of the sensible learning rate
SETTINGS = Settings()
EVERY = 128  # inner steps between looks at the validation loss of plain trainings
LOST = 2.0  # times the loss of the sensible setting
ARMS = ("poor start", "session", "sensible")


@dataclass(frozen=True)
class Cell:
    """One training."""

    task: str
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    session: bool
    seed: int
    steps: int


def run(cell: Cell) -> list[Row]:
    """Train, and look at the losses on the way and at the end."""
    data, model = TASKS[cell.task].data(), TASKS[cell.task].model(cell.seed)
    trained = optimizer(cell.optimizer, model, cell.lr, cell.momentum, cell.weight_decay)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(trained, cell.steps)
    if cell.session:
        curve, extra = _adapt(cell, model, trained, cosine)
    else:
        curve, extra = _plain(cell, model, trained, cosine), {"share": 0.0, "rollbacks": 0.0}
    ended = {"val_loss": mean_loss(model, data.val), "test_loss": mean_loss(model, data.test)}
    shares = {"val_accuracy": accuracy(model, data.val), "test_accuracy": accuracy(model, data.test)}
    asked = {"task": cell.task, "optimizer": cell.optimizer, "seed": cell.seed, "session": cell.session, "lr": cell.lr}
    return [{**asked, **ended, **shares, **extra, "curve": curve}]


def _plain(cell: Cell, model: torch.nn.Module, trained: torch.optim.Optimizer, cosine: Any) -> list[Row]:
    data = TASKS[cell.task].data()
    values = {"lr": cell.lr, "momentum": cell.momentum, "weight_decay": cell.weight_decay}
    curve = []
    for step, batch in enumerate(islice(chain.from_iterable(repeat(Shuffled(data.train, cell.seed))), cell.steps), 1):
        trained.zero_grad()
        loss(model, batch).backward()
        trained.step()
        cosine.step()
        if step % EVERY == 0 or step == cell.steps:
            curve.append({"step": step, "val_loss": mean_loss(model, data.val), **values})
    return curve


def _adapt(
    cell: Cell, model: torch.nn.Module, trained: torch.optim.Optimizer, cosine: Any
) -> tuple[list[Row], dict[str, float]]:
    data = TASKS[cell.task].data()
    session = GlocalSession(
        model,
        trained,
        loss,
        loss,
        val_batches=pieces(data.val),
        hyper=[
            Hyperparameter("lr", cell.lr, 1e-7, 3.0, "log"),
            Hyperparameter("momentum" if cell.optimizer == "sgd" else "beta1", cell.momentum, 0.0, 0.99, "logit"),
            Hyperparameter("weight_decay", cell.weight_decay, 1e-6, 1.0, "log"),
        ],
        total_steps=cell.steps,
        lr_scheduler=cosine,
        settings=SETTINGS,
    )
    curve = []
    for batch in session.batches(Shuffled(data.train, cell.seed)):
        session.step(batch)
        if session.at_report:
            told = session.metrics()
            momentum = told.get("hyper/momentum", told.get("hyper/beta1"))
            values = {"lr": told["hyper/lr"], "momentum": momentum, "weight_decay": told["hyper/weight_decay"]}
            curve.append({"step": session.step_count, "val_loss": told["val_loss"], **values})
    return curve, {"share": session.metrics()["cost/share"], "rollbacks": session.metrics()["rollbacks"]}


def pieces(data: Batch) -> list[Batch]:
    """Batches of 100."""
    return list(zip(data[0].split(100), data[1].split(100), strict=True))


# ---- what is run ----


@dataclass(frozen=True)
class Plan:
    """Which trainings a study holds; `steps` of None is the task's own number."""

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    grid: int
    seeds: int
    steps: int | None

    def grid_cells(self) -> list[Cell]:
        """Plain trainings over learning rates; the best of them, by validation loss, is the sensible one."""
        return [
            Cell(task, name, lr, *SENSIBLE[name], False, GRID_SEED, self._steps(task))
            for task in self.tasks
            for name in self.optimizers
            for lr in GRID[name][-self.grid :]
        ]

    def arms(self, sensible: dict[tuple[str, str], float]) -> list[Cell]:
        """The three arms of every task and optimizer, in the order of `ARMS`."""
        cells = []
        for (task, name), lr in sensible.items():
            for seed in range(self.seeds):
                poor = Cell(task, name, WORSE * lr, *POOR, False, seed, self._steps(task))
                adapted = Cell(task, name, WORSE * lr, *POOR, True, seed, self._steps(task))
                cells += [poor, adapted, Cell(task, name, lr, *SENSIBLE[name], False, seed, self._steps(task))]
        return cells

    def _steps(self, task: str) -> int:
        return self.steps or TASKS[task].steps


def best(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Learning rate of the smallest validation loss for each task and optimizer; a loss that is not a number loses."""
    told = [row for row in rows if math.isfinite(row["val_loss"])]
    keys = dict.fromkeys((row["task"], row["optimizer"]) for row in told)
    return {(t, o): min(chosen(told, task=t, optimizer=o), key=lambda row: row["val_loss"])["lr"] for t, o in keys}


# ---- the page ----


def groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[list[Row]]]:
    """Rows of each task and optimizer by arm, in the order of `ARMS`."""
    keys = dict.fromkeys((row["task"], row["optimizer"]) for row in rows)
    return {(t, o): [chosen(rows, task=t, optimizer=o, arm=arm) for arm in ARMS] for t, o in keys}


def losses(rows: Sequence[Row]) -> str:
    """Final losses and accuracies of the three arms."""
    header = ["task", "optimizer", *(f"{what} {arm}" for what in ("val loss,", "test loss,") for arm in ARMS)]
    header += ["session / sensible", *(f"test accuracy, {arm}" for arm in ARMS)]
    lines = []
    for (task, name), arms in groups(rows).items():
        val, test, share = ([_mean(arm, key) for arm in arms] for key in ("val_loss", "test_loss", "test_accuracy"))
        lines.append([task, name, *val, *test, test[1] / test[2], *(f"{told:.1%}" for told in share)])
    return markdown(header, lines)


def values(rows: Sequence[Row]) -> str:
    """What the sessions started from, ended with, and cost."""
    header = [
        "task",
        "optimizer",
        "sensible lr",
        "start lr",
        "ended: lr",
        "momentum",
        "weight decay",
        "rollbacks",
        "share",
    ]
    lines = []
    for (task, name), (_, adapted, sensible) in groups(rows).items():
        ends = [row["curve"][-1] for row in adapted]
        told = [" ".join(f"{end[key]:.2g}" for end in ends) for key in ("lr", "momentum", "weight_decay")]
        costs = [_mean(adapted, "rollbacks"), f"{_mean(adapted, 'share'):.0%}"]
        lines.append([task, name, sensible[0]["lr"], adapted[0]["lr"], *told, *costs])
    return markdown(header, lines)


def _mean(rows: Sequence[Row], key: str) -> float:
    return mean(row[key] for row in rows)


def concluded(rows: Sequence[Row]) -> str:
    """What the sessions end at beside the sensible setting, for each optimizer."""
    found: dict[str, dict[str, float]] = {}
    for (task, name), (_, adapted, sensible) in groups(rows).items():
        found.setdefault(name, {})[task] = _mean(adapted, "test_loss") / _mean(sensible, "test_loss")
    lines = []
    for name, ratios in found.items():
        lost = [task for task, ratio in ratios.items() if ratio > LOST]
        told = f"- *{name}*: test losses of {min(ratios.values()):.2f} to {max(ratios.values()):.2f} times those of the"
        told += f" sensible setting, geometric mean {geometric_mean(ratios.values()):.2f}"
        lines.append(f"{told}; more than {LOST:g} times on {', '.join(lost)}." if lost else f"{told}.")
    return "\n".join(["**Found.**", "", *lines])


def text(rows: Sequence[Row]) -> str:
    """The page."""
    grid = "; ".join(f"{name}: {', '.join(f'{lr:g}' for lr in lrs)}" for name, lrs in GRID.items())
    wins = sum(_mean(adapted, "test_loss") <= _mean(plain, "test_loss") for _, adapted, plain in groups(rows).values())
    saved = sum(_mean(adapted, "test_loss") < _mean(poor, "test_loss") for poor, adapted, _ in groups(rows).values())
    parts = [
        "**Asked.** " + (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ").strip(),
        "The sensible learning rate is the best of a grid by the validation loss of one run with a seed of its own"
        f" ({grid}), with momentum .9 and weight decay 1e-4 (AdamW: 1e-2). All trainings follow a cosine schedule,"
        " whose multiplier the sessions adapt, at their default settings, with momentum (AdamW: beta1) and weight"
        f" decay. Means over seeds 0 to {max(row['seed'] for row in rows)}.",
        f"**Counted.** Of {len(groups(rows))} pairs of task and optimizer, the session ends below its start without a"
        f" session in {saved}, and at or below the sensible setting in {wins} (mean test loss).",
        concluded(rows),
        "## Losses and accuracies at the end",
        losses(rows),
        "## Values",
        "One value for each seed; `share`: of the session's seconds that went into hypergradients.",
        values(rows),
    ]
    return "\n\n".join(part for part in parts if part)


def draw(rows: Sequence[Row], figure: Any) -> None:
    """Validation loss and learning rate over steps; SGD above, AdamW below, a column for each task."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    names = list(dict.fromkeys(row["optimizer"] for row in rows))
    figure.set_size_inches(max(5.0, 2.5 * len(tasks)), 3.6 * len(names))
    panels = figure.subplots(2 * len(names), len(tasks), sharex="col", squeeze=False)
    for (task, name), arms in groups(rows).items():
        column, line = tasks.index(task), 2 * names.index(name)
        for key, panel in zip(("val_loss", "lr"), panels[line : line + 2, column], strict=True):
            for arm, colour, told in zip(ARMS, ("tab:gray", "tab:red", "tab:blue"), arms, strict=True):
                for row in told:
                    steps, seen = zip(*((point["step"], point[key]) for point in row["curve"]), strict=True)
                    panel.plot(steps, seen, color=colour, lw=1, alpha=0.8, label=arm)
            panel.set(yscale="log")
            panel.grid(alpha=0.3)
        panels[line, column].set_title(f"{task}, {name}", fontsize=8)
    for line in range(2 * len(names)):
        panels[line, 0].set_ylabel(("validation loss", "learning rate")[line % 2], fontsize=8)
    for panel in panels[-1]:
        panel.set_xlabel("step")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    told = dict(zip(labels, handles, strict=True))
    figure.legend(told.values(), told, loc="outside lower center", ncols=3)


def main(asked: Study) -> None:
    smoke = Plan(("digits-mlp",), ("adamw",), 2, 1, 384)
    plan = smoke if asked.smoke else Plan(ALL, OPTIMIZERS, 5, 3, None)
    cells = plan.arms(best(asked.rows(plan.grid_cells(), run)))
    rows = asked.rows(cells, run)
    rows = [{**row, "arm": ARMS[i % len(ARMS)]} for i, row in enumerate(rows)]
    title = "Architectures: sessions from a poor start"
    asked.publish(title, text(rows), rows, partial(draw, rows))


if __name__ == "__main__":
    main(study("architectures", __doc__))
