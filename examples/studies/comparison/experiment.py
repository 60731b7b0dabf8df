"""One experiment: a method on a task, until its budget is spent, on a virtual clock or on real Ray."""

import os
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.search import BasicVariantGenerator

from comparison.methods import METHODS, Plan, settings_of
from comparison.plain import CEILING, PlainTraining
from comparison.trainables import METRIC, MODE, Trial, trainable
from ray_glocal.simulate import Cluster, simulate
from suites import Task, suite_of, task


@dataclass(frozen=True)
class Experiment:
    """A cell of the comparison.

    Args:
        task: Name of the task.
        method: Name of the method.
        seed: Of weights, orders, draws.
        budget: Whole plain trainings that the experiment may cost.
        workers: Trials at a time.
        version: Of the method; a new one runs its cells anew.
        real: Whether on real Ray processes, instead of the virtual clock.
    """

    task: str
    method: str
    seed: int
    budget: int
    workers: int
    version: int = 1
    real: bool = False


class Account(tune.Callback, tune.Stopper):  # type: ignore[misc]  # Ray ships no types
    """Writes down each new incumbent, in the order of arrival, and ends the experiment when its budget is spent.

    Args:
        budget: Plain steps.
        start: Loss of the untrained network, which everybody has for nothing.
    """

    def __init__(self, budget: float, start: tuple[float, float]) -> None:
        self.budget, self.cost, self.seconds = budget, 0.0, 0.0
        self._trials: set[str] = set()
        self.incumbents = [self._row(*start, step=0, trial="")]

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
        """Take a result in; those that arrive when the budget is spent are too late."""
        if self.stop_all():
            return
        self._trials.add(trial.trial_id)
        self.cost, self.seconds = self.cost + result["cost"], self.seconds + result["seconds"]
        if result[METRIC] < self.incumbents[-1]["val"]:
            where = {"step": int(result["step"]), "trial": trial.trial_id}
            self.incumbents.append(self._row(float(result[METRIC]), float(result["test"]), **where))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        """A trial that diverges ends in order, so that an error is one of the study's own.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"A trial failed, and no result of this experiment can be trusted: {trial.get_error()}")

    def _row(self, val: float, test: float, **where: Any) -> dict[str, Any]:
        spent = {"cost": self.cost, "seconds": self.seconds, "trials": len(self._trials)}
        return {"val": val, "test": test, **spent, **where}

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """No trial ends by this."""
        return False

    def stop_all(self) -> bool:
        """Whether the budget is spent."""
        return self.cost >= self.budget

    def rows(self) -> list[dict[str, Any]]:
        """The incumbents, and where it all ended."""
        last = self.incumbents[-1]
        return [*self.incumbents, self._row(last["val"], last["test"], step=last["step"], trial=last["trial"])]


def run(cell: Experiment, folder: Path | None = None) -> list[dict[str, Any]]:
    """Run one experiment; a row for each new incumbent, and one for its end.

    Args:
        cell: What is run.
        folder: Where plain trainings are kept between experiments; None for nowhere.
    """
    told, method = task(cell.task), METHODS[cell.method]
    account = Account(cell.budget * told.steps, _untrained(told, cell.seed))
    bound = trainable(method.trainable, Trial(cell.task, cell.seed, method.averaged, folder, settings_of(method)))
    plan = method.plan(told.space, cell.seed, cell.budget)
    with _one_thread(), tempfile.TemporaryDirectory() as place:
        (_on_ray if cell.real else _simulated)(cell, plan, bound, account, place)
    names = {
        "suite": suite_of(cell.task),
        "kind": told.kind,
        "task": cell.task,
        "method": cell.method,
        "seed": cell.seed,
    }
    sizes = {"workers": cell.workers, "trainings": cell.budget, "budget": float(cell.budget * told.steps)}
    return [{"section": "search", **names, **sizes, **row} for row in account.rows()]


def _untrained(told: Task, seed: int) -> tuple[float, float]:
    """Validation and test loss of the untrained network of the sensible configuration."""
    training = PlainTraining(told, told.sensible, seed)
    reading = training.advance(0)
    return training.ceiling / CEILING, reading.test


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _simulated(cell: Experiment, plan: Plan, bound: type, account: Account, place: str) -> None:
    simulate(
        bound,
        plan.param_space,
        metric=METRIC,
        mode=MODE,
        num_samples=plan.num_samples,
        scheduler=plan.scheduler,
        search_alg=plan.search_alg,
        cluster=Cluster(cell.workers),
        seconds=lambda config, result: result["cost"],
        stop=account,
        callbacks=[account],
        seed=cell.seed,
        folder=place,
    )


def _on_ray(cell: Experiment, plan: Plan, bound: type, account: Account, place: str) -> None:
    """On processes of a local cluster of its own, which takes a worker for each trial at a time, busy cores or not."""
    random.seed(cell.seed)
    np.random.seed(cell.seed)  # noqa: NPY002  # as the simulation does: PBT and PB2 draw from the global generators
    search = plan.search_alg or BasicVariantGenerator(random_state=cell.seed)
    chosen = partial(tune.TuneConfig, metric=METRIC, mode=MODE, num_samples=plan.num_samples, reuse_actors=True)
    tuner = tune.Tuner(
        bound,
        param_space=plan.param_space,
        tune_config=chosen(scheduler=plan.scheduler, search_alg=search, max_concurrent_trials=cell.workers),
        run_config=tune.RunConfig(storage_path=place, stop=account, callbacks=[account], verbose=0),
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # workers import the study's modules, too
    ray.init(
        "local", num_cpus=cell.workers, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": path}
    )
    try:
        tuner.fit()
    finally:
        ray.shutdown()
