"""Function trainables, and experiments of them on the virtual clock."""

import itertools
import json
import tempfile
from pathlib import Path

from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, PopulationBasedTraining

from ray_glocal import GlocalScheduler
from ray_glocal.simulate import Cluster, simulate

from .cases import LENGTH, falling

SPACE = {"floor": tune.uniform(0, 1), "rate": tune.loguniform(0.01, 1)}
TRIALS = 6
SCHEDULERS = {
    "fifo": FIFOScheduler,
    "asha": lambda: ASHAScheduler(max_t=LENGTH, reduction_factor=3),
    "median": lambda: MedianStoppingRule(time_attr="training_iteration", grace_period=3),
    "glocal": lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH),
    "pbt": lambda: PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=5,
        hyperparam_mutations={"rate": tune.loguniform(0.01, 1)},
    ),
}


def resumed():
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return json.loads(Path(folder, "at.json").read_text())


def report(at, metrics):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "at.json").write_text(json.dumps(at))
        tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


def plain(config):
    for at in range(1, LENGTH + 1):
        tune.report(falling(config, at))


def saving(config):
    for at in range(resumed() + 1, LENGTH + 1):
        report(at, {**falling(config, at), "done": at == LENGTH})


def forever(config):
    for at in itertools.count(1):
        tune.report(falling(config, at))


def run(trainable, scheduler="fifo", **options):
    settings = {"metric": "loss", "mode": "min", "num_samples": TRIALS, "cluster": Cluster(3)} | options
    space = settings.pop("space", SPACE)
    return simulate(trainable, space, scheduler=SCHEDULERS[scheduler](), **settings)


def uneven(config, result):
    """No two trials report at the same moment."""
    return 1 + config["floor"]


def iterations(told, trial):
    return [result.iteration for result in told.results if result.trial == trial]
