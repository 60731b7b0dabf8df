"""A whole training with a session over the same without, by the budget that the session was given."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from statistics import mean
from typing import Any

import torch

from measuring import seconds
from ray_glocal import GlocalSession
from ray_glocal.session.settings import Settings
from study import Row, markdown
from windows.cells import Cell, Setting, asked
from windows.inner import Inner
from windows.networks import NETWORKS

STEPS = 1600
BUDGETS = ("0.25", "0.1")


def cells(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """Every network, under every budget in place of a way."""
    for network in NETWORKS:
        yield Cell("sessions", network, 1, "adamw", "options 3", STEPS, BUDGETS, 1, setting)


def run(cell: Cell) -> list[Row]:
    """Each budget's training between two plain ones."""
    torch.set_num_threads(cell.setting.threads)
    device, rows = cell.setting.device, []
    fresh(cell).plain(cell.length // 10)
    before = seconds(lambda: fresh(cell).plain(cell.length), device)
    for budget in cell.ways:
        session = session_of(fresh(cell), float(budget), cell.length)
        taken = seconds(partial(train, session, fresh(cell).batches), device)
        after = seconds(lambda: fresh(cell).plain(cell.length), device)
        plain = mean([before, after])
        row = {**asked(cell), "way": budget, "plain": plain / cell.length, "ratio": taken / plain, "fits": True}
        row |= {"own": session.metrics()["cost/overhead"], "windows": len({r.step for r in session.trace.rows})}
        rows.append(row)
        before = after
    return rows


def fresh(cell: Cell) -> Inner:
    """Twenty batches, again and again."""
    return replace(cell, length=20).inner(20)


def session_of(told: Inner, budget: float, steps: int) -> GlocalSession:
    """A session at the default settings."""
    problem = told.problem
    return GlocalSession(
        problem.model,
        problem.optimizer,
        problem.train_loss,
        problem.val_loss,
        val_batches=told.val * 4,
        hyper=problem.hyperparameters,
        total_steps=steps,
        settings=Settings(overhead=budget),
    )


def train(session: GlocalSession, batches: Sequence[Any]) -> None:
    """From the first to the last step."""
    for batch in islice(cycle(batches), session.total_steps):
        session.step(batch)


def section(rows: Sequence[Row]) -> Iterator[str]:
    """The table."""
    yield "## A whole training with a session"
    yield (
        f"{STEPS} steps at the default settings, by the budget that `overhead` allows: the training's time over that of"
        " a plain loop before and after it, with everything that a session does; and the extra time over the plain one"
        " as the session itself reports it. Four validation batches."
    )
    heads = ["network", "overhead", "plain step, ms", "time over plain training", "of its own count", "windows"]
    keys = ("network", "way", "plain", "ratio", "own", "windows")
    yield markdown(heads, [[1e3 * row[k] if k == "plain" else row[k] for k in keys] for row in rows])
