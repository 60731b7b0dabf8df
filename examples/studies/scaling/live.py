"""What real Ray adds: a driver's processor seconds per result of actors that report as fast as they can."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal.event_manager import RayEventManager

from ray_glocal import GlocalScheduler, GlocalSearch, adapted
from scaling.disk import problem
from scaling.report import reported
from scaling.saving import size
from study import Row

CONFIG = {"optimizer": "sgd", "width": 64, "layers": 1, "activation": "relu"} | {
    "lr": 0.01,
    "momentum": 0.9,
    "weight_decay": 1e-4,
}
SETTINGS = {"TUNE_GLOBAL_CHECKPOINT_S": "100000", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_WARN_THRESHOLD_S": "60"}
WARM, COLD = 0.2, 0.95  # share of the results between which seconds are counted

HERE = Path(__file__).parents[1]
PATHS = os.pathsep.join([str(HERE), str(HERE.parents[1])])  # of modules, for other processes


class Reporting(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Reports and does nothing else."""

    def setup(self, config: dict[str, Any]) -> None:
        """Remember how far."""
        self.results = config["results"]

    def step(self) -> dict[str, Any]:
        """One report."""
        return {**reported(self.config, self.iteration + 1), "done": self.iteration + 1 >= self.results}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A small file."""
        Path(checkpoint_dir, "at.json").write_text(json.dumps(self.iteration))

    def load_checkpoint(self, checkpoint: str) -> None:
        """Nothing: nobody returns."""


def reporting(config: dict[str, Any]) -> None:
    """The same as a function."""
    for iteration in range(1, config["results"] + 1):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = None
            if config["saves"]:
                Path(folder, "at.json").write_text(json.dumps(iteration))
                checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report(reported(config, iteration), checkpoint=checkpoint)


class Meter(tune.Callback):  # type: ignore[misc]  # Ray ships no types
    """Processor seconds of this process, all of its threads, at each result."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_trial_result(self, **_: Any) -> None:
        """Note them."""
        self.seconds.append(time.process_time())

    def each(self) -> float:
        """Seconds a result, without the beginning and the end."""
        first, last = (int(share * (len(self.seconds) - 1)) for share in (WARM, COLD))
        return (self.seconds[last] - self.seconds[first]) / (last - first)


def measured(api: str, loggers: bool, saves: bool, actors: int, results: int) -> Row:
    """Seconds a result of a driver of some actors."""
    own = SETTINGS | {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0" if loggers else "1"}
    meter = Meter()
    with _environment(own), _cluster(), tempfile.TemporaryDirectory() as folder:
        tune.run(
            tune.with_resources(Reporting if api == "class" else reporting, {"cpu": 2 / actors}),
            config={**CONFIG, "results": results, "saves": saves},
            num_samples=actors,
            storage_path=folder,
            callbacks=[meter],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=int(saves)) if api == "class" else None,
            verbose=0,
        )
    return {"seconds": meter.each(), "results": len(meter.seconds)}


def waited(futures: int, repeats: int) -> Row:
    """Seconds of the processor that Tune's wait for one result takes while so many others are awaited."""
    with _environment(SETTINGS), _cluster():
        blocked = ray.remote(num_cpus=0)(_Blocked).options(max_concurrency=2).remote()
        manager = RayEventManager()
        for _ in range(futures):
            manager.track_future(blocked.never.remote())
        done: list[Any] = []
        seconds = 0.0
        for _ in range(repeats):
            future = ray.put(0)
            manager.track_future(future, on_result=done.append)
            begin = time.process_time()
            while len(done) == 0:
                manager.wait(timeout=0.1, num_results=1)
            seconds += time.process_time() - begin
            done.clear()
        ray.kill(blocked)
    return {"seconds": seconds / repeats}


KEPT = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
    "seed": tune.choice([0, 1]),
}


def training(config: dict[str, Any]) -> None:
    """A session, as in the README."""
    session, batches, _ = problem(config["optimizer"], config["hidden"], config["steps"], adapted(config, KEPT))
    session.restore(tune.get_checkpoint())
    for batch in session.batches(batches):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics(), checkpoint=session.checkpoint())


def kept(optimizer: str, hidden: int, steps: int, trials: int) -> Row:
    """Bytes of checkpoints that an experiment of sessions leaves in its storage, a trial."""
    with tempfile.TemporaryDirectory() as folder:
        # A process of its own, which removes what is still to be removed when it ends; those of multiprocessing do not.
        lead = f"from scaling.live import lead; lead(*{(optimizer, hidden, steps, trials, folder)!r})"
        subprocess.run([sys.executable, "-c", lead], check=True, env={**os.environ, "PYTHONPATH": PATHS})
        places = [place for place in Path(folder).rglob("checkpoint_*") if place.is_dir()]
        held = sum(size(place) for place in places)
    return {"bytes": held / trials, "weights": problem(optimizer, hidden, steps)[2], "kept": len(places) / trials}


def lead(optimizer: str, hidden: int, steps: int, trials: int, folder: str) -> None:
    """The driver of such an experiment, from its start to its end."""
    search = GlocalSearch(KEPT, metric="val_loss", mode="min", seed=0)
    with _cluster():
        tune.run(
            training,
            config={**KEPT, "optimizer": optimizer, "hidden": hidden, "steps": steps},
            num_samples=trials,
            search_alg=search,
            scheduler=GlocalScheduler(metric="val_loss", mode="min", search=search, grace_period=steps),
            storage_path=folder,
            verbose=0,
        )


class _Blocked:
    def never(self) -> None:
        """Run until it is killed."""
        time.sleep(10_000)


@contextmanager
def _cluster() -> Iterator[None]:
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}}
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        runtime_env=environment,
        logging_level="ERROR",
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _environment(own: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(own)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
