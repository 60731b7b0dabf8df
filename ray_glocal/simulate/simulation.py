"""An experiment on a virtual clock: Tune's real controller, any scheduler and searcher, and no process of Ray's."""

import inspect
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, Searcher, SearchGenerator

from ray_glocal.errors import ArgumentError
from ray_glocal.names import TRAINING_ITERATION
from ray_glocal.simulate._compat import VirtualController, VirtualExperiment, driver_alone, flatten_dict
from ray_glocal.simulate.actors import Seconds, VirtualActors
from ray_glocal.simulate.clock import Clock
from ray_glocal.simulate.cluster import Cluster

WAITING = 200  # trials that may wait for a worker, as in a real experiment


@dataclass(frozen=True)
class Result:
    """What a trial reported.

    Args:
        time: When it arrived, in seconds of the simulation.
        trial: The trial's number, from 0, in the order in which trials were made.
        iteration: Tune's count of its results.
        value: The metric.
    """

    time: float
    trial: int
    iteration: int
    value: float


@dataclass(frozen=True)
class Simulation:
    """What came of a simulated experiment.

    Args:
        results: What was reported, in the order of its arrival.
        configs: Configuration of each trial, as it ended.
        statuses: How each trial ended: TERMINATED or ERROR; another where the budget ran out.
        seconds: Length of the experiment.
        busy: Seconds that its workers worked, all together.
        mode: "min" or "max".
    """

    results: tuple[Result, ...]
    configs: tuple[Mapping[str, Any], ...]
    statuses: tuple[str, ...]
    seconds: float
    busy: float
    mode: str

    def best(self, time: float | None = None) -> float:
        """The best value up to a time, or to the end; NaN before the first."""
        seen = [r.value for r in self.results if (time is None or r.time <= time) and np.isfinite(r.value)]
        return float("nan") if not seen else min(seen) if self.mode == "min" else max(seen)

    def finals(self) -> dict[int, float]:
        """Last value of each trial that reported."""
        return {result.trial: result.value for result in self.results}


class _Recorder(tune.Callback):  # type: ignore[misc]  # Ray ships no types
    """Writes down what arrives when."""

    def __init__(self, clock: Clock, metric: str) -> None:
        self._clock, self._metric = clock, metric
        self.results: list[Result] = []
        self.numbers: dict[str, int] = {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
        number = self.numbers.setdefault(trial.trial_id, len(self.numbers))
        value = float(flatten_dict(result)[self._metric])
        self.results.append(Result(self._clock.now, number, int(result[TRAINING_ITERATION]), value))


def simulate(
    trainable: type[tune.Trainable] | Callable[..., Any],
    param_space: Mapping[str, Any],
    *,
    metric: str,
    mode: str,
    num_samples: int = 1,
    scheduler: TrialScheduler | None = None,
    search_alg: Any = None,
    cluster: Cluster | None = None,
    seconds: Seconds = lambda config, result: 1.0,
    budget: float = float("inf"),
    stop: Mapping[str, Any] | tune.Stopper | Callable[[str, dict[str, Any]], bool] | None = None,
    checkpoint_config: tune.CheckpointConfig | None = None,
    callbacks: Sequence[tune.Callback] = (),
    max_failures: int = 0,
    reuse_actors: bool = False,
    seed: int = 0,
    folder: str | Path | None = None,
) -> Simulation:
    """Run an experiment on a virtual clock.

    The controller, the scheduler and the searcher are the real ones and see what they would see on a cluster; trials
    run in this process, one call after the other. The same seed gives the same experiment, for whatever draws from
    `random` or `numpy.random` is seeded for the time being. Searchers that draw by themselves need seeds of their own.
    The global generators are one for all trials, so a trial that should draw as it would alone needs a generator of
    its own too.

    A function runs as on a cluster, with `tune.report`, `tune.get_checkpoint` and `tune.get_context`, from one report
    to the next, and its return takes no time. Where its trial is stopped or its worker dies, `tune.report` raises
    SystemExit, so that `finally` clauses run, which a death on a cluster would not let. Resources are ignored.

    Args:
        trainable: A class trainable, `following(curve, iterations)` or a real one, or a function of a configuration;
            they train here.
        param_space: As for `tune.Tuner`.
        metric: What is optimised.
        mode: "min" or "max".
        num_samples: As for Tune; -1 for as many as `budget` or `stop` lets.
        scheduler: Any of Tune's or `GlocalScheduler`; FIFO by default.
        search_alg: A searcher or a search algorithm of Tune's, or `GlocalSearch`; random by default.
        cluster: Workers, delays and failures.
        seconds: How long a result takes to be trained, of a configuration and the result.
        budget: Seconds after which the experiment is broken off.
        stop: Tune's stopping criteria: limits by name, a `tune.Stopper`, or a function of trial and result.
        checkpoint_config: When checkpoints are taken of a class trainable, and which are kept.
        callbacks: Of Tune's; they see results in the order of their arrival.
        max_failures: How often a trial that failed is tried again; -1 for always.
        reuse_actors: Whether a worker's process serves one trial after the other.
        seed: Of failures, and of the global generators.
        folder: Where the experiment's files go, with a last snapshot: `report` reads the folder `simulation` in it. A
            temporary folder by default.

    Returns:
        A `Simulation`: `best(time)` is the best value up to a time, or to the end, `finals()` the last of each trial.
        `results` holds what was reported (`time`, `trial`, `iteration`, `value`), `configs` and `statuses` how each
        trial ended, `seconds` the length of the experiment and `busy` what its workers worked, all together.

    Raises:
        ArgumentError: `mode` or the trainable is none, nothing can happen any more while trials wait, for every node
            was lost, or a function catches the SystemExit and goes on.
        ValueError: `checkpoint_config` asks for checkpoints of a function, which reports its own.
    """
    if mode not in ("min", "max"):
        raise ArgumentError("mode", "be 'min' or 'max'", mode, "Say whether a small or a large metric is good.")
    if not _trains(trainable):
        remedy = "Other arguments of a function can be bound with `tune.with_parameters`."
        raise ArgumentError("trainable", "be a class trainable or a function of one configuration", trainable, remedy)
    cluster, clock = cluster or Cluster(), Clock()
    with tempfile.TemporaryDirectory() as fresh, _seeded(seed):
        experiment = VirtualExperiment(
            "simulation",
            trainable,
            config=dict(param_space),
            num_samples=sys.maxsize if num_samples == -1 else num_samples,  # as `tune.run` does
            stop=dict(stop) if isinstance(stop, Mapping) else stop,
            checkpoint_config=checkpoint_config,
            max_failures=max_failures,
            storage_path=str(Path(folder or fresh).absolute()),
        )
        actors, recorder = VirtualActors(cluster, clock, seconds, seed), _Recorder(clock, metric)
        search = _search(search_alg, experiment, metric, mode, seed)
        judge = scheduler or FIFOScheduler()
        judge.set_search_properties(metric, mode, **experiment.public_spec)
        with driver_alone(WAITING if isinstance(search, BasicVariantGenerator) else None):
            controller = VirtualController(
                actors,
                search_alg=search,
                scheduler=judge,
                callbacks=[recorder, *callbacks],
                metric=metric,
                storage=experiment.storage,
                stopper=experiment.stopper,
                reuse_actors=reuse_actors,
            )
            controller.setup_experiments([experiment], total_num_samples=search.total_samples)
            try:
                _run(controller, clock, budget)
                if folder is not None:
                    controller.save_end()
            finally:
                controller.end_experiment_callbacks()
                controller.await_copy()
                actors.cleanup()
        last = len(recorder.numbers)
        trials = sorted(controller.get_trials(), key=lambda trial: recorder.numbers.get(trial.trial_id, last))
        configs, statuses = tuple(t.config for t in trials), tuple(t.status for t in trials)
        return Simulation(tuple(recorder.results), configs, statuses, clock.now, actors.busy_seconds, mode)


def _trains(trainable: Any) -> bool:
    """Whether it is a class trainable, or can be called with a configuration."""
    if isinstance(trainable, type):
        return issubclass(trainable, tune.Trainable)
    try:
        inspect.signature(trainable).bind({})
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators, which schedulers draw from, seeded; afterwards they are as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _search(chosen: Any, experiment: VirtualExperiment, metric: str, mode: str, seed: int) -> Any:
    """The search algorithm as `tune.run` would make it."""
    search = chosen if chosen is not None else BasicVariantGenerator(random_state=seed)
    if isinstance(search, Searcher):
        search = SearchGenerator(search)
    search.set_search_properties(metric, mode, dict(experiment.spec["config"]), **experiment.public_spec)
    search.add_configurations([experiment])
    return search


def _run(controller: VirtualController, clock: Clock, budget: float) -> None:
    while not controller.is_finished() and clock.now < budget:
        before = clock.happened
        controller.step()
        if clock.happened == before and not controller.is_finished():
            waiting = [trial.trial_id for trial in controller.get_trials() if not trial.is_finished()]
            remedy = "Let an outage end, or leave a node that none takes."
            raise ArgumentError("cluster", f"keep a worker for the {len(waiting)} trials that wait", "none", remedy)
