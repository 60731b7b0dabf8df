"""A simulated experiment whose driver is timed: Tune's own controller, and what it asks of scheduler and searcher."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

from ray_glocal import GlocalScheduler, GlocalSearch
from ray_glocal.simulate import Cluster, following, simulate
from ray_glocal.simulate._compat import VirtualController
from ray_glocal.simulate.actor import Actor
from scaling.report import LENGTH, SPACE, reported
from scaling.stopwatch import Stopwatch

MINUTE = 60.0  # between the reports of a trial
START = 10.0  # seconds until a worker begins with a trial

CONTROLLER, CHOICE, SCHEDULER, SEARCHER, TRIAL = "controller", "choice", "scheduler", "searcher", "trial"
PARTS = (CONTROLLER, CHOICE, SCHEDULER, SEARCHER)  # of the driver; the trials run elsewhere
OURS, BEFORE, STOCK = "glocal", "glocal, choosing as FIFO", "ASHA, random"
UNLIMITED = "glocal, without max_concurrent_trials"


class Fifo(GlocalScheduler):
    """Chooses as it did before: through all trials."""

    choose_trial_to_run = FIFOScheduler.choose_trial_to_run


@dataclass(frozen=True)
class Run:
    """What is left of a simulated experiment.

    Args:
        controller: Tune's, with all its trials.
        scheduler: The scheduler.
        search: The searcher.
        steps: Seconds by part of each step of the controller that took in a result.
        driver: Seconds of the whole experiment by part.
        seconds: How long it took on the virtual clock.
    """

    controller: Any
    scheduler: Any
    search: Any
    steps: list[Mapping[str, float]]
    driver: Mapping[str, float]
    seconds: float


def run(trials: int, workers: int, kind: str, folder: Path) -> Run:
    """Simulate an experiment under `kind`, and time its driver."""
    watch, timed = Stopwatch(), _Steps()
    scheduler, search = _judges(kind)
    # As Tune makes it of `max_concurrent_trials`: without, one trial at a time would wait for its worker to start.
    limited = search if kind in (STOCK, UNLIMITED) else ConcurrencyLimiter(search, workers)
    watch.watch(scheduler, SCHEDULER, "on_trial_add", "on_trial_result", "on_trial_complete")
    watch.watch(scheduler, CHOICE, "choose_trial_to_run")
    asked = ("next_trial",) if kind == STOCK else ("suggest", "on_trial_result", "on_trial_complete")
    watch.watch(search, SEARCHER, *asked)
    with (
        _changed(VirtualController, step=lambda step: timed.step(watch, step), _process_trial_result=timed.result),
        _changed(Actor, **{name: lambda call: watch.within(TRIAL, call) for name in ("call", "start")}),
    ):
        told = simulate(
            following(reported, LENGTH),
            SPACE,
            metric="val_loss",
            mode="min",
            num_samples=trials,
            scheduler=scheduler,
            search_alg=limited,
            cluster=Cluster(workers, start=START),
            seconds=lambda config, result: MINUTE,
            folder=folder,
        )
    driver = {part: watch.seconds[part] for part in PARTS}
    return Run(timed.controller, scheduler, search, timed.steps, driver, told.seconds)


class _Steps:
    """Seconds by part of each step of the controller that takes in a result."""

    def __init__(self) -> None:
        self.steps: list[Mapping[str, float]] = []
        self.controller: Any = None
        self._results = 0

    def step(self, watch: Stopwatch, step: Callable[[Any], None]) -> Callable[[Any], None]:
        """The controller's step, timed."""
        inside = watch.within(CONTROLLER, step)

        def timed(controller: Any) -> None:
            self.controller, before, results = controller, watch.lap(), self._results
            inside(controller)
            if self._results > results:
                after = watch.lap()
                self.steps.append({part: after[part] - before[part] for part in PARTS})

        return timed

    def result(self, process: Callable[..., Any]) -> Callable[..., Any]:
        """The controller's way to take in a result, counted."""

        def counted(*args: Any) -> Any:
            self._results += 1
            return process(*args)

        return counted


def _judges(kind: str) -> tuple[TrialScheduler, Any]:
    if kind == STOCK:
        return ASHAScheduler(max_t=LENGTH, grace_period=4, reduction_factor=3), BasicVariantGenerator(random_state=0)
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    make = Fifo if kind == BEFORE else GlocalScheduler
    return make(metric="val_loss", mode="min", search=search), search


@contextmanager
def _changed(kind: type, **changes: Callable[[Any], Any]) -> Iterator[None]:
    """Methods of a class in other hands, for a while."""
    own = {name: vars(kind).get(name) for name in changes}
    for name, change in changes.items():
        setattr(kind, name, change(getattr(kind, name)))
    try:
        yield
    finally:
        for name, method in own.items():
            if method is None:
                delattr(kind, name)
            else:
                setattr(kind, name, method)
