"""What local, glocal and global hypergradients cost beside plain training, by either engine: time and memory.

A window is differentiated forward and backward at several lengths and numbers of hyperparameters; the forecast, the
exact hypergradient of a whole run and a whole session at its default settings are timed beside it.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from measuring import Action, growth, seconds
from pricing import forecasts, found, memory, per_step, prices, sessions
from ray_glocal import GlocalSession
from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.engines.forward import contract, no_tangents
from ray_glocal.hypergradient.gradient.step import push_forward_step
from ray_glocal.koopman import forecaster
from ray_glocal.session.settings import Settings
from study import Row, Study, chosen, study
from tasks import TASKS, Shuffled, optimizer

ALL = ("digits-mlp", "digits-gru", "digits-transformer", "fashion-mlp", "fashion-cnn")
ENTRIES = (1, 3, 10, 1000)
LENGTHS = (10, 30, 100)
MANY = 100  # hyperparameters from which the forward engine is measured over a single step
REACH = 200  # inner steps of the global hypergradient
PLAIN = 30  # plain steps that are timed together
SEED = 100
ENGINES = {"adjoint": adjoint_trajectory, "forward": forward_trajectory}


# ---- the problem ----


def train_loss(model: nn.Module, batch: Sequence[Tensor]) -> Tensor:
    """Mean cross entropy."""
    return F.cross_entropy(model(batch[0]), batch[1])


def weighted_loss(model: nn.Module, batch: Sequence[Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
    """Cross entropy with a weight for each example, or for each group of them where there are fewer weights."""
    weights = hyper["weights"]
    return (weights[batch[2] % len(weights)] * F.cross_entropy(model(batch[0]), batch[1], reduction="none")).mean()


def hyperparameters(entries: int) -> list[Hyperparameter]:
    """Learning rate; momentum and weight decay from three on; weights of examples from four on."""
    told = [
        Hyperparameter("lr", 0.05, 1e-4, 1.0, "log"),
        Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"),
        Hyperparameter("weight_decay", 1e-4, 1e-6, 1e-1, "log"),
    ]
    if entries > len(told):
        told.append(Hyperparameter("weights", torch.ones(entries - len(told)), 1e-3, 10.0, "log"))
    return told[:entries] if entries <= 3 else told


@dataclass(frozen=True)
class Bench:
    """A task ready to be trained: a problem on a fresh network and its batches."""

    problem: Problem
    loader: Sequence[Any]
    val: Sequence[Any]

    @classmethod
    def of(cls, task: str, entries: int) -> "Bench":
        """A fresh network with `entries` hyperparameters; 4 validation batches of 100."""
        told = TASKS[task]
        data, model = told.data(), told.model(SEED)
        numbered = Shuffled((data.train[0], torch.arange(len(data.train[1]))), SEED)
        loader = [(inputs, data.train[1][index], index) for inputs, index in numbered]
        val = list(zip(data.val[0][:400].split(100), data.val[1][:400].split(100), strict=True))
        losses = (weighted_loss if entries > 3 else train_loss, train_loss)
        sgd = optimizer("sgd", model, 0.05, 0.9, 1e-4)
        return cls(Problem(model, sgd, *losses, hyperparameters(entries)), loader, val)

    def batches(self, count: int) -> list[Any]:
        """The first batches, epoch after epoch."""
        return list(islice(chain.from_iterable(repeat(self.loader)), count))

    def train(self, count: int) -> None:
        """Plain steps of the unweighted loss, as a loop without hyperparameters takes them."""
        model, sgd = self.problem.model, self.problem.optimizer
        for batch in self.batches(count):
            sgd.zero_grad()
            train_loss(model, batch).backward()
            sgd.step()

    def local(self, engine: str, length: int) -> Tensor:
        """Trajectory of one window, recorded and differentiated."""
        values = self.problem.start_values()
        window = record_window(self.problem, self.batches(length), self.val, values)
        return ENGINES[engine](self.problem, window).derivatives

    def overall(self, engine: str, length: int) -> Tensor:
        """Exact hypergradient after `length` steps: backward with all states kept, or forward with none."""
        values = self.problem.start_values()
        if engine == "adjoint":
            return global_hypergradient(self.problem, self.batches(length), self.val, values).derivatives[-1]
        carrier = no_tangents(self.problem, self.problem.capture())
        for batch in self.batches(length):
            snapshot = self.problem.snapshot(batch, values, self.problem.capture())
            self.problem.advance(batch, values)
            with self.problem.preserved():
                carrier = push_forward_step(self.problem, snapshot, carrier)
        return contract(self.problem.outer_gradient(self.val, values), carrier)

    @property
    def held(self) -> int:
        """Bytes of parameters, gradients and optimizer buffers."""
        kept = [t for p in self.problem.parameters for t in (p, p.grad) if t is not None]
        kept += [t for state in self.problem.optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        return sum(t.numel() * t.element_size() for t in kept)


# ---- measuring ----


@dataclass(frozen=True)
class Cell:
    """Everything about one task and one number of hyperparameters; a `reach` of zero leaves out the global one."""

    task: str
    entries: int
    lengths: tuple[int, ...]
    reach: int
    repetitions: int


def run(cell: Cell) -> list[Row]:
    """Ratios to plain training: time within interleaved repetitions, memory once."""
    bench = Bench.of(cell.task, cell.entries)
    bench.train(PLAIN)
    actions = dict(_actions(bench, cell))
    ratios: dict[tuple[str, str, int], list[float]] = {key: [] for key in actions}
    for action in actions.values():  # once untimed: first calls set things up
        action()
    for _ in range(cell.repetitions):
        for key, action in actions.items():
            plain = seconds(lambda: bench.train(PLAIN)) / PLAIN
            ratios[key].append(seconds(action) / plain)
    bench.problem.optimizer.zero_grad()
    least = bench.held + growth(lambda: bench.train(1))
    rows = []
    for (what, engine, length), action in actions.items():
        asked = {"task": cell.task, "entries": cell.entries, "what": what, "engine": engine, "length": length}
        bench.problem.optimizer.zero_grad()
        memory = (bench.held + growth(action)) / least
        rows.append({**asked, "steps": median(ratios[what, engine, length]), "memory": memory})
    return rows


def _actions(bench: Bench, cell: Cell) -> Iterator[tuple[tuple[str, str, int], Action]]:
    few = cell.entries < MANY
    for engine in ENGINES:
        for length in cell.lengths if few or engine == "adjoint" else (1,):
            yield ("local", engine, length), partial(bench.local, engine, length)
    for length in cell.lengths:
        series = bench.problem.pull_back(bench.problem.start_values(), bench.local("adjoint", length)).numpy()
        yield ("forecast", Settings().forecaster, length), partial(_forecast, series, cell.reach or REACH)
    if cell.reach and few:
        for engine in ENGINES:
            yield ("global", engine, cell.reach), partial(bench.overall, engine, cell.reach)


def _forecast(series: Any, horizon: int) -> object:
    return forecaster(Settings().forecaster).forecast(series, horizon)


@dataclass(frozen=True)
class Whole:
    """A whole training with a session at its default settings, beside the same without."""

    task: str
    entries: int
    steps: int
    repetitions: int


def run_whole(cell: Whole) -> list[Row]:
    """Ratios of one session to plain training, repetitions interleaved; memory over the first 200 steps."""
    told = _session(Bench.of(cell.task, cell.entries), PLAIN)  # once untimed: first calls set things up
    ratios = []
    for _ in range(cell.repetitions):
        without, with_ = Bench.of(cell.task, cell.entries), Bench.of(cell.task, cell.entries)
        plain = seconds(partial(without.train, cell.steps))
        start = time.process_time()
        told = _session(with_, cell.steps)
        ratios.append((time.process_time() - start) / plain)
    short, fresh = min(200, cell.steps), Bench.of(cell.task, cell.entries)
    base = fresh.held + growth(partial(fresh.train, short))
    fresh = Bench.of(cell.task, cell.entries)
    memory = (fresh.held + growth(lambda: _session(fresh, short))) / base
    asked = {"task": cell.task, "entries": cell.entries, "steps": cell.steps}
    return [
        {**asked, "ratio": median(ratios), "counted": told["cost/steps"] / cell.steps, "memory": memory}
        | {"share": told["cost/share"]}
    ]


def _session(bench: Bench, steps: int) -> dict[str, float]:
    problem = bench.problem
    losses = (problem.train_loss, problem.val_loss)
    session = GlocalSession(
        problem.model,
        problem.optimizer,
        *losses,
        val_batches=bench.val,
        hyper=problem.hyperparameters,
        total_steps=steps,
    )
    for batch in session.batches(bench.loader):
        session.step(batch)
    return session.metrics()


# ---- the page ----


def text(rows: Sequence[Row], whole: Sequence[Row]) -> str:
    """The page."""
    reach = max((row["length"] for row in chosen(rows, what="global")), default=0)
    parts = [
        "**Asked.** " + (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ").strip(),
        "Everything is a ratio to plain training within one process and one thread: each repetition times plain steps"
        " right before each measurement, in processor time; entries are medians of the repetitions' ratios. Batches of"
        " 32, SGD with momentum, 4 validation batches of 100 (the forward engine differentiates them after every step"
        " of a window, the adjoint once). q = 1: lr; 3: also momentum and weight decay; beyond: weights of training"
        " examples. Memory: most bytes of tensors at once (parameters, gradients, optimizer buffers and all that is"
        " allocated on top) over the same of a plain step; the data set is left out.",
        found(rows, whole),
        "## Time of one inner step in a window (its plain step included), in plain steps",
        f"With {MANY} hyperparameters or more the forward engine is measured over one step.",
        per_step(rows),
        "## Peak memory of a window, over a plain step's",
        memory(rows),
        f"## One hypergradient: local, glocal, and global over {reach} steps, in plain steps",
        "Glocal is the local window and the forecast. The global one by the forward engine keeps no states and"
        " differentiates the validation loss once.",
        prices(rows),
        f"## The forecast alone (`{Settings().forecaster}`), in plain steps",
        forecasts(rows),
        "## A whole training with a session at its default settings, over the same without",
        "`steps counted` is the session's own count of inner-step equivalents over the steps of training, `share` the"
        " part of its seconds that it charges to hypergradients.",
        sessions(whole),
    ]
    return "\n\n".join(part for part in parts if part)


def draw(rows: Sequence[Row], whole: Sequence[Row], figure: Any) -> None:
    """Time against q, memory against K, and the price of whole sessions."""
    figure.set_size_inches(12, 4.2)
    left, middle, right = figure.subplots(1, 3)
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    colours = {task: f"C{i}" for i, task in enumerate(tasks)}
    local = chosen(rows, what="local")
    shortest, q = (
        min(row["length"] for row in chosen(local, engine="adjoint")),
        sorted({r["entries"] for r in local})[1],
    )
    for task in tasks:
        for engine, line in (("adjoint", "-"), ("forward", "--")):
            style = {"color": colours[task], "ls": line, "marker": ".", "label": f"{task}, {engine}"}
            timed = [r for r in chosen(local, task=task, engine=engine) if r["length"] in (shortest, 1)]
            left.plot([r["entries"] for r in timed], [r["steps"] / r["length"] for r in timed], **style)
            kept = chosen(local, task=task, engine=engine, entries=q)
            middle.plot([r["length"] for r in kept], [r["memory"] for r in kept], **style)
    left.set(
        xscale="log", yscale="log", xlabel="hyperparameters q", ylabel="plain steps", title="time of a window's step"
    )
    middle.set(
        xscale="log", yscale="log", xlabel="window K", ylabel="plain steps' memory", title=f"peak memory, q = {q}"
    )
    few = [row for row in whole if row["entries"] == min(r["entries"] for r in whole)]
    right.barh([row["task"] for row in few], [row["ratio"] for row in few], color=[colours[r["task"]] for r in few])
    right.axvline(1, color="black", lw=1)
    right.set(xlabel="time over plain training", title=f"a whole session, q = {few[0]['entries']}")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8)


def main(asked: Study) -> None:
    if asked.smoke:
        cells = [Cell("digits-mlp", q, (4,), 8, 2) for q in (1, 10)]
        wholes = [Whole("digits-mlp", 3, 64, 1)]
    else:
        cells = [Cell(task, q, LENGTHS, REACH if q == 3 else 0, 3) for task in ALL for q in ENTRIES]
        wholes = [Whole(task, q, TASKS[task].steps, 3) for task in ALL for q in (3, 1000)]
    rows, whole = asked.rows(cells, run), asked.rows(wholes, run_whole)
    every = [*rows, *({**row, "what": "session"} for row in whole)]
    title = "Cost: time and memory of local, glocal and global hypergradients"
    asked.publish(title, text(rows, whole), every, partial(draw, rows, whole))


if __name__ == "__main__":
    main(study("cost", __doc__))
