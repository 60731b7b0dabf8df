"""A whole training with a session over the same without, by the budget that the session was given."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
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
CHUNK = 20  # steps
BUDGETS = ("auto", "0.25", "0.1")  # of `Settings(overhead=...)`


def cells(setting: Setting, ways: Sequence[str]) -> Iterator[Cell]:
    """Every network, under every budget in place of a way."""
    for network in NETWORKS:
        yield Cell("sessions", network, 1, "adamw", "options 3", STEPS, BUDGETS, 1, setting)


def run(cell: Cell) -> list[Row]:
    """Trainings by every budget."""
    torch.set_num_threads(cell.setting.threads)
    return [{**asked(cell), "way": budget, "fits": True, **in_turn(cell, budget)} for budget in cell.ways]


def in_turn(cell: Cell, budget: str) -> Row:
    """A training by a budget and a plain one, some steps of the one after some of the other."""
    bare, beside, device = fresh(cell), fresh(cell), cell.setting.device
    bare.plain(cell.length // 10)
    session = session_of(beside, budget, cell.length)
    batches = islice(cycle(beside.batches), cell.length)
    taken = plain = 0.0
    for first in range(0, cell.length, CHUNK):
        count = min(CHUNK, cell.length - first)
        plain += seconds(partial(bare.plain, count), device)
        taken += seconds(partial(train, session, islice(batches, count)), device)
        session._meter.stop()  # what the plain loop takes is none of its time
    told = session.metrics()
    own, hypergradients = told["cost/overhead"], told["windows"]
    return {"plain": plain / cell.length, "ratio": taken / plain, "own": own, "hypergradients": hypergradients}


def fresh(cell: Cell) -> Inner:
    """Twenty batches, again and again."""
    return replace(cell, length=20).inner(20)


def session_of(told: Inner, budget: str, steps: int) -> GlocalSession:
    """A session at the default settings, but for its budget."""
    problem = told.problem
    return GlocalSession(
        problem.model,
        problem.optimizer,
        problem.train_loss,
        problem.val_loss,
        val_batches=told.val * 4,
        hyper=problem.hyperparameters,
        total_steps=steps,
        settings=Settings(overhead="auto" if budget == "auto" else float(budget)),
    )


def train(session: GlocalSession, batches: Iterable[Any]) -> None:
    """Some steps."""
    for batch in batches:
        session.step(batch)


def section(rows: Sequence[Row]) -> Iterator[str]:
    """The table."""
    yield "## A whole training with a session"
    yield (
        f"{STEPS} steps at the default settings but for the budget, `overhead`, whose default is auto: the training's"
        f" time over that of a plain loop, {CHUNK} steps of the one after as many of the other, with everything that a"
        " session does; and the extra time as the session itself reports it. Four validation batches."
    )
    heads = ["network", "overhead", "plain step, ms", "time over plain training", "of its own count", "hypergradients"]
    keys = ("network", "way", "plain", "ratio", "own", "hypergradients")
    yield markdown(heads, [[1e3 * row[k] if k == "plain" else row[k] for k in keys] for row in rows])
