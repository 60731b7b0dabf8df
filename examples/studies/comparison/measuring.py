"""Prices measured: what a plain loop and a session add to a plain step, on a task's sensible configuration."""

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

import torch

from comparison.averaging import EVERY, Average
from comparison.plain import PlainTraining, mean_loss
from comparison.prices import Prices
from comparison.sessions import session_of
from ray_glocal import Settings
from ray_glocal.session.pacing.cost import PROBE, SEARCH, UPKEEP, WINDOW
from suites import Task

STEPS, BLOCK, WINDOWS = 320, 16, 5


def measure(task: Task) -> Prices:
    """Measure a task's prices, by processor time of one thread."""
    torch.set_num_threads(1)
    plain = _plain(task)
    seconds = plain.pop("seconds")
    told = plain | _session(task, WINDOW) | _session(task, SEARCH)
    return Prices(seconds=round(seconds, 7), **{name: round(value / seconds, 4) for name, value in told.items()})


def _plain(task: Task) -> dict[str, float]:
    """Seconds of a plain step, and of what a plain loop may add."""
    running = PlainTraining(task, task.sensible, 0)
    training = running.training
    average = Average(training.model)
    told: dict[str, list[float]] = {name: [] for name in ("seconds", "report", "average")}
    for _ in range(min(STEPS, task.steps) // BLOCK):
        told["seconds"].append(_seconds(running.take_step, BLOCK))
        told["report"].append(_seconds(lambda: mean_loss(training, training.val_batches), 1))
        told["average"].append(_seconds(lambda: average.update(EVERY), BLOCK) / EVERY)
    return {name: median(values) for name, values in told.items()}


def _session(task: Task, kind: str) -> dict[str, float]:
    """Seconds of what a session adds, by its own account of a few windows of a kind."""
    training = PlainTraining(task, task.sensible, 0).training
    whole: Any = session_of(task, training, task.sensible, settings=Settings(overhead=None, duty_cycle=0.5))
    whole._meter._clock = process_time  # other processes slow it less than they slow the clock
    if kind == WINDOW:
        whole._adaptation.inherit()  # which knows the learning rate already
    for batch in whole.batches(training.batches):
        if len(whole.cost.recent.get(kind, ())) >= WINDOWS:
            break
        whole.step(batch)
    first = whole.cost.first.get(kind, 0.0)
    told = {kind: whole.cost.typical(kind) or first, f"first_{kind}": first}
    told |= {"probe": whole.cost.first[PROBE]} if kind == SEARCH else {}
    return told | ({"upkeep": whole.cost.typical(UPKEEP) or 0.0} if kind == WINDOW else {})


def _seconds(action: Callable[[], Any], times: int) -> float:
    start = process_time()
    for _ in range(times):
        action()
    return (process_time() - start) / times
