"""An experiment in a process of its own, which can be killed; what came of it is left in a file.

As a program: `drivers.py ADDRESS HOST FOLDER`, with the plan in the folder's `plan.json`; HOST is the address of the
machine's own node.
"""

import json
import logging
import os
import resource
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import frail
import ray
import trainables
from experiments import snapshot
from ray import tune
from storage import filesystem, opened, path

from ray_glocal.scheduling import journal
from ray_glocal.tune import GlocalScheduler, GlocalSearch, retention

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([1, 2, 4]),
    "lr": tune.loguniform(1e-4, 1.0),
}


def conduct(address, folder, plan, **options):
    """Run or resume the experiment in `folder` on the cluster at `address`; everything that is said goes to a log."""
    log = os.open(folder / "driver.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout.reconfigure(line_buffering=True)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = plan["snapshots"]
    retention.PERIOD = plan["looks"]
    ray.init(address=address, logging_level=logging.WARNING, log_to_driver=plan["worker_logs"], **options)
    heard = Heard()
    logging.getLogger("ray_glocal").addHandler(heard)
    search, scheduler, trials = ENTRIES[plan["entry"]](folder, plan)
    outcome = {
        "trials": [[t.trial_id, t.status, t.last_result.get("step"), t.last_result.get("val_loss")] for t in trials],
        "ledger": journal.write(scheduler.ledger),
        "shared": search is None or search.ledger is scheduler.ledger,
        "decisions": scheduler.decisions(),
        "heard": heard.sentences,
        "results": {t.trial_id: t.last_result for t in trials},
    }
    (folder / "outcome.json").write_text(json.dumps(outcome, default=str))
    if scheduler._retention is not None:  # a process of `multiprocessing` ends without what runs at exit
        scheduler._retention.finish()
    ray.shutdown()


class Heard(logging.Handler):
    """What the library says to the driver, kept where a full disk cannot swallow it."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.sentences = []

    def emit(self, record):
        self.sentences.append(record.getMessage())


def by_run(folder, plan):
    search, scheduler = parts(plan)
    analysis = tune.run(
        trainable(plan),
        name="experiment",
        config=space(folder, plan),
        num_samples=plan["trials"],
        search_alg=search,
        scheduler=scheduler,
        max_concurrent_trials=plan["at_a_time"],
        max_failures=plan["failures"],
        reuse_actors=True,
        resume="AUTO" if plan["resume"] else False,
        raise_on_failed_trial=False,
        callbacks=[Loss(plan["checkpoints_lost"])] if plan["checkpoints_lost"] else None,
        verbose=1,
        storage_path=path(folder, plan["storage"]),
        storage_filesystem=filesystem(plan["storage"]),
    )
    return search, scheduler, analysis.trials


def by_tuner(folder, plan):
    storage = plan["storage"]
    experiment, files = f"{path(folder, storage)}/experiment", filesystem(storage)
    # `can_restore` alone is not enough: it is true before there is any snapshot to restore.
    there = tune.Tuner.can_restore(experiment, storage_filesystem=files) and snapshot(experiment, opened(storage))
    if plan["resume"] and there:
        tuner = tune.Tuner.restore(experiment, trainable(plan), storage_filesystem=files)
    else:
        search, scheduler = parts(plan)
        tuner = tune.Tuner(
            trainable(plan),
            param_space=space(folder, plan),
            tune_config=tune.TuneConfig(
                num_samples=plan["trials"],
                search_alg=search,
                scheduler=scheduler,
                max_concurrent_trials=plan["at_a_time"],
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="experiment",
                storage_path=path(folder, storage),
                storage_filesystem=files,
                verbose=1,
                failure_config=tune.FailureConfig(max_failures=plan["failures"]),
            ),
        )
    results = tuner.fit()
    used = tuner._local_tuner._tune_config  # a restored Tuner makes its own objects, and shows them nowhere else
    return used.search_alg, used.scheduler, results._experiment_analysis.trials


ENTRIES = {"run": by_run, "tuner": by_tuner}


def trainable(plan):
    return getattr(frail, plan["trainable"], None) or getattr(trainables, plan["trainable"])


def parts(plan):
    kinds = (CrampedSearch, CrampedScheduler) if plan["cramped"] else (GlocalSearch, GlocalScheduler)
    search = kinds[0](SPACE, metric="val_loss", mode="min", seed=0) if plan["ours"] else None
    return search, kinds[1]("val_loss", "min", grace_period=1, search=search, rules=tuple(plan["rules"]))


def space(folder, plan):
    constants = {"pace": plan["pace"], "beats": str(folder / "beats"), "storage": str(folder / "experiment")}
    return {**SPACE, **constants, **plan["constants"]}


@contextmanager
def cramped(ledger, room=20):
    """A disk with no room for what is written, for a part of the experiment: the system itself refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if 10 < len(ledger) < 30:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(100, len(journal.write(ledger)) + room), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class CrampedSearch(GlocalSearch):
    def save(self, checkpoint_path):
        with cramped(self.ledger, room=-20):
            super().save(checkpoint_path)


class CrampedScheduler(GlocalScheduler):
    def on_trial_add(self, *arguments):
        with cramped(self.ledger):
            super().on_trial_add(*arguments)

    def on_trial_result(self, *arguments):
        with cramped(self.ledger):
            return super().on_trial_result(*arguments)

    def on_trial_complete(self, *arguments):
        with cramped(self.ledger, room=-1_000_000):  # the decisions take less than the ledger
            super().on_trial_complete(*arguments)


class Loss(tune.Callback):
    """The storage loses the checkpoint of every trial that ends: the folder, or only what is in it."""

    def __init__(self, kind):
        self.kind = kind

    def on_trial_complete(self, iteration, trials, trial, **info):
        folder = Path(trial.checkpoint.path)
        shutil.rmtree(folder)
        if self.kind == "contents":
            folder.mkdir()


if __name__ == "__main__":
    address, host, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    conduct(address, folder, json.loads((folder / "plan.json").read_text()), _node_ip_address=host)
