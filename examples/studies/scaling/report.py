"""A trial of a session as the driver sees it: its space, its reports, and how its loss falls."""

import math
from collections.abc import Mapping
from typing import Any

from ray import tune

LENGTH = 40  # reports of a trial that nobody stops
STEPS = 1600
SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([64, 128, 256]),
    "layers": tune.choice([1, 2, 3]),
    "activation": tune.choice(["relu", "gelu"]),
    "lr": tune.loguniform(1e-4, 1.0),
    "momentum": tune.uniform(0.0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-1),
}
ADAPTED = ("lr", "momentum", "weight_decay")


def floor(config: Mapping[str, Any]) -> float:
    """Where a trial's loss ends."""
    rate = 0.1 * abs(math.log10(config["lr"]) + 2)
    kind = 0.05 * (config["optimizer"] == "sgd") + 0.02 * (config["activation"] == "relu")
    return float(0.1 + rate + kind + 0.3 / config["layers"] / math.log2(config["width"]))


def reported(config: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """What a session with three adapted hyperparameters reports, key by key."""
    end = floor(config)
    loss = end + (1.6 - end) * math.exp(-iteration / 8)
    hyper = {f"hyper/{name}": config[name] for name in ADAPTED}
    elasticity = {f"elasticity/{name}": 0.01 / iteration for name in ADAPTED}
    return {
        "val_loss": loss,
        "train_loss": 0.9 * loss,
        "step": STEPS // LENGTH * iteration,
        "timesteps_total": STEPS // LENGTH * iteration,
        "total_steps": STEPS,
        "forecast/final_loss": end + 0.2 / iteration,
        "forecast/deviation": 0.1 / iteration,
        "potential": 0.01 / iteration,
        "rollbacks": 0,
        "windows": iteration,
        "searching": 0,
        "lineage/own": STEPS // LENGTH * iteration,
        "lineage/steps": STEPS // LENGTH * iteration,
        **hyper,
        **elasticity,
        "cost/steps": 56.0 * iteration,
        "cost/seconds": 1.7 * iteration,
        "cost/share": 0.25,
        "cost/overhead": 0.33,
        "warnings": 0,
        "warning": "",
    }
