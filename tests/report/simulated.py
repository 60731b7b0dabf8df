"""A simulated experiment of any size as a folder of results: lineage, workers, forecasts, traces with windows."""

import math
from pathlib import Path

import numpy as np
from ray import tune
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import ConcurrencyLimiter

from ray_glocal import GlocalScheduler, GlocalSearch
from ray_glocal.session.state.trace import Row, Trace
from ray_glocal.simulate import Cluster, following, simulate

STEPS, WINDOWS, LENGTH = 81, 40, 16
WORKERS = 32
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([32, 64, 128, 256]),
    "activation": tune.choice(["relu", "gelu", "silu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}


def rate(config, step):
    """The learning rate on its way from where it started to a good one."""
    return config["lr"] * (0.01 / config["lr"]) ** (1 - math.exp(-step / 25))


def curve(config, step):
    """What a session would report."""
    far = abs(math.log10(rate(config, step) / 0.01))
    kind = 0.05 * (config["optimizer"] == "sgd") + 0.03 * (config["activation"] == "relu")
    floor = 0.05 + kind + 2 / config["width"] + 0.02 * far
    loss = floor + (0.3 + 0.3 * far) * step**-0.7 + 0.004 * math.sin(7.3 * step + config["width"])
    told = {"val_loss": loss, "train_loss": 0.8 * loss, "step": step, "total_steps": STEPS, "rollbacks": 0}
    told |= {"forecast/final_loss": floor + 0.3 * STEPS**-0.7, "forecast/deviation": 0.02 / step}
    return told | {"hyper/lr": rate(config, step), "hyper/weight_decay": config["weight_decay"]}


def trace(config, steps, seed):
    """Windows of a session, whose local hypergradients decay and turn."""
    rng, time = np.random.default_rng(seed), np.arange(1, LENGTH + 1)
    rows = []
    for step in sorted({max(1, round(steps * (i + 1) / WINDOWS)) for i in range(WINDOWS)}):
        for name, size in (("lr", 1.0), ("weight_decay", 0.1)):
            value = rate(config, step) if name == "lr" else config["weight_decay"]
            wave = size * (1 - 0.8**time + 0.2 * 0.9**time * np.cos(0.7 * time) + 0.001 * rng.standard_normal(LENGTH))
            told = "elasticity -0.12 at 2.3 deviations; moves to 0.0134"
            local = float(wave[-1])
            rows.append(Row(step, name, value, local, 1.1 * local, 0.2 * size, "act", told, wave.tolist()))
    return rows


def experiment(folder, trials, seed=0, logged=True):
    """Simulate it, and leave in `folder` what Tune and our scheduler would; the folder of results comes back."""
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=seed)
    scheduler = GlocalScheduler(metric="val_loss", mode="min", search=search)
    simulate(
        following(curve, iterations=STEPS),
        SPACE,
        metric="val_loss",
        mode="min",
        num_samples=trials,
        scheduler=scheduler,
        search_alg=ConcurrencyLimiter(search, WORKERS),
        cluster=Cluster(WORKERS, start=20.0, failures=1e-5),
        max_failures=3,
        seconds=lambda config, result: 30.0,
        callbacks=[JsonLoggerCallback()] if logged else [],
        folder=folder,
    )
    results = next(Path(folder).rglob("driver_artifacts"))
    search.save(str(results / "searcher-state-2026.pkl"))
    scheduler.write_decisions(results / "decisions.parquet")
    for place, (trial, record) in enumerate(scheduler.ledger.trials.items()):
        home = next(results.glob(f"*_{trial}_*"))
        written = Trace()
        written.append(trace(record.added.config, record.latest.step if record.latest else 1, place))
        (home / "checkpoint_000000").mkdir()
        written.save(home / "checkpoint_000000" / "trace.parquet")
    return results
