"""Bytes on disk per trial over the bytes of its weights: `python tests/tune/bench_disk.py [TRIALS] [STEPS]`.

Real experiments on a local Ray: sessions of an MLP of 1.1 million parameters under default settings, with Tune's
checkpoints of every report ("all") and with those that are needed. Looked at ten times a second while trials run, once
when `fit` has returned, and once when the removals that it leaves are done.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import ray
import torch
from ray import tune
from torch import nn
from torch.nn import functional as F

from ray_glocal import GlocalScheduler, GlocalSearch, GlocalSession, adapted

WIDTH = 1000
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "lr": tune.loguniform(1e-3, 1e-1),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}


def data(seed, count):
    inputs = torch.randn(count, 64, generator=torch.Generator().manual_seed(seed))
    return [(x, (x[:, :10] + x[:, 10:20].sin()).argmax(1)) for x in inputs.split(16)]


def build():
    return nn.Sequential(nn.Linear(64, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 10))


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def train(config):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build()
    optimizer = {
        "sgd": torch.optim.SGD(model.parameters(), config["lr"], momentum=0.9),
        "adamw": torch.optim.AdamW(model.parameters(), config["lr"] / 10),
    }[config["optimizer"]]
    hyper = adapted({**config, "lr": optimizer.param_groups[0]["lr"]}, {**SPACE, "lr": tune.loguniform(1e-5, 1.0)})
    session = GlocalSession(
        model, optimizer, loss, loss, val_batches=data(1, 32), hyper=hyper, total_steps=config["steps"]
    )
    session.restore(tune.get_checkpoint())
    for batch in session.batches(data(0, 512)):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics(), checkpoint=session.checkpoint())


def weights():
    return sum(4 * parameter.numel() for parameter in build().parameters())


def sizes(experiment):
    """Bytes of checkpoints of each trial, over those of the weights."""
    found = {}
    for file in experiment.glob("train_*/checkpoint_*/*"):
        try:
            found[file.parts[-3]] = found.get(file.parts[-3], 0) + file.stat().st_size / weights()
        except FileNotFoundError:
            continue
    return found


class Timed(GlocalScheduler):
    """Counts the seconds in hooks."""

    spent, calls = 0.0, 0


def timed(name):
    def hook(self, *arguments):
        start = time.thread_time()
        try:
            return getattr(GlocalScheduler, name)(self, *arguments)
        finally:
            Timed.spent, Timed.calls = Timed.spent + time.thread_time() - start, Timed.calls + 1

    return hook


for _name in ("on_trial_add", "on_trial_result", "on_trial_complete", "on_trial_error"):
    setattr(Timed, _name, timed(_name))


class Watch(threading.Thread):
    """The highest that was seen."""

    def __init__(self, experiment):
        super().__init__(daemon=True)
        self.experiment, self.over = experiment, threading.Event()
        self.one = self.mean = 0.0

    def run(self):
        while not self.over.wait(0.1):
            found = sizes(self.experiment).values()
            if found:
                self.one, self.mean = max(self.one, *found), max(self.mean, sum(found) / len(found))


def run(kind, trials, steps):
    with tempfile.TemporaryDirectory() as folder:
        experiment = Path(folder, "disk")
        watch = Watch(experiment)
        watch.start()
        Timed.spent, Timed.calls = 0.0, 0
        search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
        scheduler = Timed(metric="val_loss", mode="min", search=search, checkpoints=kind)
        tuner = tune.Tuner(
            train,
            param_space={**SPACE, "steps": steps},
            tune_config=tune.TuneConfig(
                num_samples=trials, search_alg=search, scheduler=scheduler, max_concurrent_trials=2, reuse_actors=True
            ),
            run_config=tune.RunConfig(name="disk", storage_path=folder, verbose=0),
        )
        start = time.perf_counter()
        results = tuner.fit()
        taken = time.perf_counter() - start
        at_once = list(sizes(experiment).values())
        watch.over.set()
        watch.join()
        time.sleep(5)
        found = list(sizes(experiment).values())
        best = results.get_best_result("val_loss", "min").checkpoint
        assert any(Path(best.path).glob("resume-*.pt")), "the best trial can be resumed"
        reports = sum(len(one.metrics_dataframe) for one in results)
        hook = 1000 * Timed.spent / Timed.calls
        print(
            f"| {kind} | {len(found)} | {reports} | {watch.one:.1f} | {watch.mean:.1f} | {mean(at_once):.2f} | "
            f"{mean(found):.2f} | {max(found):.2f} | {hook:.3f} | {taken:.0f} |",
            flush=True,
        )


def mean(values):
    return sum(values) / len(values)


def main(trials=16, steps=400):
    here = Path(__file__).parent
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{here.parent.parent}"}}
    ray.init(address="local", num_cpus=2, include_dashboard=False, runtime_env=environment, log_to_driver=False)
    print(f"{weights() / 1e6:.1f} MB of weights; sizes in multiples of that\n")
    columns = [
        "checkpoints",
        "trials",
        "reports",
        "one trial at most",
        "mean at most",
        "when fit returns",
        "at the end",
    ]
    columns += ["largest at the end", "ms in a hook", "s"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for kind in ("all", "needed"):
        run(kind, trials, steps)
    ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
