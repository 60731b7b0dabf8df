"""Our search beside ASHA, PBT and the rest: the same spaces, trainables, workers and budget, on two suites of tasks.

The rules are in `comparison/README.md`. Cells are run once each and kept, so an interrupted comparison goes on where it
was. `--quick` ranks the methods on a few short tasks, `--real` runs on Ray's processes in place of the virtual clock,
`--page` writes the page of what is there, `--published` takes up the cells that the page's rows hold, so that a clone
need not run them again, and `--measure` the prices that everything is counted by.
"""

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")  # two threads make the models of PB2 ten times slower
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # nobody reads what they write

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from comparison import experiment, singles
from comparison.experiment import Experiment
from comparison.figures import figures
from comparison.looks import looked, looks
from comparison.measuring import measure
from comparison.methods import ABLATIONS, METHODS, OURS, RIVALS, version
from comparison.page import page, quick_agreement
from comparison.prices import write
from comparison.singles import Single, described
from study import Row, Study, read, study
from suites import SUITES, suite, task

BUDGET, WORKERS, SEEDS = 8, 4, 3  # whole trainings, trials at a time, and seeds of an experiment
SLOW = ("shakespeare", "code")  # beginnings of the tasks that the quick form leaves out, beside the long ones
QUICK_SEED = 100
LONG = 5000  # steps of tasks whose turn comes late
HELD_OUT_SEED = 1000  # the first of the held-out suite's own seeds


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Args:
        tasks: Names of tasks.
        methods: Names of methods.
        seeds: Of experiments and single trainings.
        budget: Whole plain trainings that each experiment may cost.
        workers: Trials at a time.
        alone: Whether to make the single trainings, too: grid, sessions, optimizers that need no rate.
        real: Whether on Ray's processes.
    """

    tasks: Sequence[str]
    methods: Sequence[str] = tuple(METHODS)
    seeds: Sequence[int] = tuple(range(SEEDS))
    budget: int = BUDGET
    workers: int = WORKERS
    alone: bool = True
    real: bool = False

    def cells(self) -> list[Experiment | Single]:
        """Seed after seed, so that one cut short is whole for some; ablations and searches of long tasks come last."""
        found: list[Experiment | Single] = []
        for seed, name in product(self.seeds, self.tasks):
            found += [self._experiment(name, m, seed) for m in self.methods if METHODS[m].takes(task(name).space)]
            found += singles.cells(name, seed, version("session")) if self.alone else []
        return sorted(found, key=_turn)

    def _experiment(self, name: str, method: str, seed: int) -> Experiment:
        return Experiment(name, method, seed, self.budget, self.workers, version(method), self.real)


def _turn(cell: Experiment | Single) -> int:
    """When a cell is run, seeds apart."""
    if isinstance(cell, Single):
        return int(task(cell.task).steps >= LONG)
    return 3 if task(cell.task).steps >= LONG else 2 if cell.method in ABLATIONS else 0


def compare(told: Study, what: Comparison) -> list[Row]:
    """Run what was not run before.

    Args:
        told: Whose folder keeps the cells, and how many processes run them.
        what: Is compared.

    Returns:
        Rows as `comparison.experiment.run` and `comparison.singles.run` tell them.
    """
    return told.rows(what.cells(), partial(run, folder=told.out / "cells" / "trainings"))


def run(cell: Experiment | Single, folder: Path) -> list[Row]:
    """Run a cell of either kind."""
    logging.disable(logging.WARNING)  # a line for each trial otherwise
    return (experiment if isinstance(cell, Experiment) else singles).run(cell, folder)


def chosen(names: str, known: Sequence[str], what: str) -> list[str]:
    """Names that are listed with commas, or all.

    Raises:
        SystemExit: One of them is not known.
    """
    told = list(known) if names == "all" else names.split(",")
    unknown = [name for name in told if name not in known]
    if unknown:
        sys.exit(f"--{what}: {unknown[0]!r} is none of {', '.join(known)}.")
    return told


def asked_for(told: Study) -> Comparison:
    """The comparison that the command line asks for."""
    asked: dict[str, Any] = dict(told.options)
    tasks = chosen(asked["tasks"], list(suite(asked["suite"])), "tasks")
    methods = chosen(asked["methods"], list(METHODS), "methods")
    what = Comparison(
        tasks, methods, range(asked["seeds"]), asked["budget"], alone=not asked["real"], real=asked["real"]
    )
    if told.smoke:
        return Comparison(tasks[:1], ["random", "asha+averaging", "glocal"], [0], budget=2, alone=False)
    if asked["quick"]:
        short = [name for name in tasks if task(name).steps < LONG and not name.startswith(SLOW)]
        plain = [name for name in methods if name not in ABLATIONS and METHODS[name].most is None]
        what = replace(what, tasks=short, methods=plain, seeds=[QUICK_SEED], alone=False)
    if asked["suite"] == "held-out":
        what = replace(what, seeds=[HELD_OUT_SEED + seed for seed in what.seeds])
    return what


def main() -> None:
    options: dict[str, Any] = {"suite": "tuning", "tasks": "all", "methods": "all", "budget": BUDGET, "seeds": SEEDS}
    switches = {"quick": False, "real": False, "page": False, "published": False, "measure": False}
    told = study("compare", __doc__, **options, **switches, reason="")
    (name,) = chosen(told.options["suite"], SUITES, "suite")
    what = asked_for(told)
    if told.options["measure"]:
        for each in what.tasks:
            write({each: measure(task(each))})
        return
    forms = [name, *(form for form in ("quick", "real") if told.options[form])]
    command = " ".join(word for word in told.command.split(" ") if word not in ("--page", "--published"))
    told = replace(told, out=told.out / "-".join(forms), command=command)
    if name == "held-out" and not told.options["page"]:
        looked(told.out, told.options["reason"])
    if told.options["published"]:
        told.take_up(what.cells())
    published = told.kept(what.cells()) if told.options["page"] else compare(told, what)
    rows = [described(row) for row in published]
    text = page(rows, list(RIVALS), list(OURS)) + (looks(told.out) if name == "held-out" else "")
    if told.options["quick"]:
        whole = told.out.with_name(name) / "rows.parquet"
        text += "\n\n" + quick_agreement(rows, read(whole) if whole.exists() else [], [*RIVALS, next(iter(OURS))])
    text = f"The rules are in `examples/studies/comparison`.\n\n{text}"
    told.publish(f"Comparison: the {name} suite", text, published, figures(rows, list(RIVALS), list(OURS)))


if __name__ == "__main__":
    main()
