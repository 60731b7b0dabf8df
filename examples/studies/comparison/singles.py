"""Single trainings: sessions from poor starts, a grid of twenty points, and optimizers that choose their own rate."""

from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from comparison.curves import Curve
from comparison.domains import continuous, logarithmic
from comparison.plain import CEILING, REPORTS, PlainTraining, mean_loss
from comparison.prices import prices
from comparison.randomness import Randomness
from comparison.sessions import session_of
from suites import Task, suite_of, task

RATES, DECAYS = 10, (0.2, 0.6)  # of the grid: learning rates along their domain, quantiles of the weight decays'
STARTS = {"low": 0.0, "middle": 0.5, "high": 1.0}  # quantiles of the learning rates' domains
POOR, NEUTRAL = 0.8, 0.5  # quantiles of weight decays, far too large, and of everything else, where sessions start


@dataclass(frozen=True)
class Single:
    """A cell of the comparison: one training.

    Args:
        task: Name of the task.
        method: `grid`, `session`, `prodigy` or `schedule-free`.
        point: Of the grid, its number; of a session a name of `STARTS`; empty for the others.
        seed: Of weights and orders.
        version: Of the method; a new one runs its cells anew.
    """

    task: str
    method: str
    point: str
    seed: int
    version: int = 1


def cells(name: str, seed: int, version: int) -> list[Single]:
    """All single trainings of a task from one seed; `version` is that of the sessions."""
    grid = [Single(name, "grid", str(number), seed) for number in range(RATES * len(DECAYS))]
    sessions = [Single(name, "session", start, seed, version) for start in STARTS]
    return [*sessions, *grid, Single(name, "prodigy", "", seed), Single(name, "schedule-free", "", seed)]


def run(cell: Single, folder: Path | None = None) -> list[dict[str, Any]]:
    """Train, and measure what came of it, in one row.

    Args:
        cell: What is run.
        folder: Where plain trainings are kept; None for nowhere.
    """
    torch.set_num_threads(1)
    told = task(cell.task)
    if cell.method == "grid":
        measured = _grid(told, cell, folder)
    elif cell.method in ("prodigy", "schedule-free"):
        measured = _free(told, cell)
    else:
        measured = _session(told, cell)
    names = {"suite": suite_of(cell.task), "kind": told.kind, "steps": told.steps}
    return [{"section": "single", **names, **{k: v for k, v in vars(cell).items() if k != "version"}, **measured}]


def quantile(domain: Any, share: float) -> float:
    """The value at a share of a domain's length, on a line of logarithms where it is drawn on one."""
    low, high = float(domain.lower), float(domain.upper)
    if logarithmic(domain):
        return float(min(max(low * (high / low) ** share, low), high))
    return low + share * (high - low)


def point(told: Task, number: int) -> dict[str, Any]:
    """The configuration of a point of the grid: the sensible one with other rates and weight decays."""
    rate, decay = number % RATES / (RATES - 1), DECAYS[number // RATES]
    return {**told.sensible, **dict(_placed(told, {"lr": rate, "weight_decay": decay}))}


def described(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose grid point, a number, is told by its values."""
    if row.get("method") != "grid":
        return dict(row)
    told, number = task(row["task"]), int(row["point"])
    rates = {name: value for name, value in point(told, number).items() if told.sets(name) in ("lr", "weight_decay")}
    firsts = {told.sets(name): f"{told.sets(name)} {value:.2g}" for name, value in reversed(rates.items())}
    return {**row, "point": ", ".join(reversed(firsts.values()))}


def start(told: Task, name: str) -> dict[str, Any]:
    """The configuration of a session's start: the sensible choices, and every continuous value a poor one."""
    shares = {"lr": STARTS[name], "weight_decay": POOR}
    return {**told.sensible, **dict(_placed(told, shares, NEUTRAL))}


def _placed(told: Task, shares: Mapping[str, float], other: float | None = None) -> Iterator[tuple[str, float]]:
    """Values at shares of their domains, by the optimizer's option that they set."""
    for name, domain in continuous(told.space).items():
        share = shares.get(told.sets(name), other)
        if share is not None:
            yield name, quantile(domain, share)


def _grid(told: Task, cell: Single, folder: Path | None) -> dict[str, Any]:
    curve = Curve(folder, told, point(told, int(cell.point)), cell.seed)
    readings = [curve[0]]
    while len(readings) < REPORTS and not readings[-1].lost:
        readings.append(curve[len(readings)])
    last = readings[-1]
    losses = {name: getattr(last, name) for name in ("val", "test", "averaged_val", "averaged_test")}
    cost = told.steps + REPORTS * prices(told.name).report
    return {**losses, "cost": cost, "seconds": sum(reading.seconds for reading in readings)}


def _session(told: Task, cell: Single) -> dict[str, Any]:
    """A session's training, read at the averaged weights that it reports."""
    randomness, config = Randomness(cell.seed), start(told, cell.point)
    with randomness:
        training = told.build(config, cell.seed)
    ceiling = CEILING * mean_loss(training, training.val_batches)
    session = session_of(told, training, config, prices=prices(told.name))
    began = process_time()
    with randomness:
        for batch in session.batches(training.batches):
            session.step(batch)
    seconds, metrics = process_time() - began, session.metrics()
    parts = training.val_batches, training.test_batches
    raw = [mean_loss(training, part, ceiling) for part in parts]
    with session.averaged_weights():
        averaged = [mean_loss(training, part, ceiling) for part in parts]
    names = ("val", "test", "averaged_val", "averaged_test")
    return {**dict(zip(names, [*raw, *averaged], strict=True)), "cost": metrics["cost/seconds"], "seconds": seconds}


def _free(told: Task, cell: Single) -> dict[str, Any]:
    """One run of an optimizer that finds its rate, or needs no schedule, at the sensible other values."""
    running = PlainTraining(told, told.sensible, cell.seed)
    training, began = running.training, process_time()
    running.training = replace(training, **(_prodigy if cell.method == "prodigy" else _schedule_free)(told, training))
    running.advance(told.steps)
    seconds = process_time() - began
    if cell.method == "schedule-free":
        running.training.optimizer.eval()  # type: ignore[attr-defined]  # to the averaged weights
    parts = training.val_batches, training.test_batches
    val, test = (mean_loss(running.training, part, running.ceiling) for part in parts)
    return {**_alike(val, test), "cost": float(told.steps), "seconds": seconds}


def _prodigy(told: Task, training: Any) -> dict[str, Any]:
    """Prodigy (Mishchenko & Defazio, arXiv:2306.06101) beneath a cosine, as its authors advise."""
    from prodigyopt import Prodigy

    with redirect_stdout(None):  # it announces itself
        trained = Prodigy(list(training.model.parameters()), lr=1.0, weight_decay=_decay(told))
    return {"optimizer": trained, "schedule": CosineAnnealingLR(trained, told.steps)}


def _schedule_free(told: Task, training: Any) -> dict[str, Any]:
    """Schedule-free SGD or AdamW (Defazio et al., arXiv:2405.15682) at the sensible rate."""
    from schedulefree import AdamWScheduleFree, SGDScheduleFree

    adam = isinstance(training.optimizer, torch.optim.AdamW)
    rate = max(float(value) for name, value in told.sensible.items() if told.sets(name) == "lr")
    kind = AdamWScheduleFree if adam else SGDScheduleFree
    trained = kind(list(training.model.parameters()), lr=rate, weight_decay=_decay(told))
    trained.train()
    return {"optimizer": trained, "schedule": None}


def _decay(told: Task) -> float:
    """The sensible weight decay; of several the mean."""
    found = [float(value) for name, value in told.sensible.items() if told.sets(name) == "weight_decay"]
    return sum(found) / len(found) if found else 0.0


def _alike(val: float, test: float) -> dict[str, float]:
    return {"val": val, "test": test, "averaged_val": val, "averaged_test": test}
