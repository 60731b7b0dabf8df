"""Trainables for tests on a real cluster: quick, deterministic, with checkpoints in plain JSON."""

import json
import math
import os
import tempfile
from pathlib import Path

from frail import loss, resumed
from ray import tune

from ray_glocal.tune import GlocalTrainable, adapted

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([1, 2, 4]),
    "lr": tune.loguniform(1e-4, 1.0),
    "steps": 9,
}


def report(step, metrics):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "state.json").write_text(json.dumps({"step": step}))
        checkpoint = tune.Checkpoint.from_directory(folder)
        tune.report({"step": step, **metrics}, checkpoint=checkpoint)


def curve(config):
    """A function trainable that knows nothing of forecasts."""
    for step in range(resumed() + 1, config["steps"] + 1):
        report(step, {"val_loss": loss(config, step), "accuracy": -loss(config, step)})


def forecasting(config):
    """A function trainable that reports as a session does."""
    for step in range(resumed() + 1, config["steps"] + 1):
        metrics = {
            "val_loss": loss(config, step),
            "forecast/final_loss": loss(config, config["steps"]),
            "forecast/deviation": 0.1 / step,
            "total_steps": config["steps"],
            "hyper/lr": config["lr"] * 0.99,
            "inherited": float(adapted(config, SPACE).ancestor is not None),
        }
        report(step, metrics)


def diverging(config):
    for step in range(1, config["steps"] + 1):
        bad = config["optimizer"] == "sgd" and step >= 2
        tune.report({"step": step, "val_loss": math.nan if bad else loss(config, step)})


def faulty(config):
    """Fails twice on the way, in the two ways in which a process fails."""
    begin = resumed()
    for step in range(begin + 1, config["steps"] + 1):
        if step == 3 and begin < 2:
            raise RuntimeError("the trainable raises")
        if step == 6 and begin < 5:
            os._exit(1)
        report(step, {"val_loss": loss(config, step)})


class Marker:
    """An object that Tune replaces by a placeholder in a space."""


EXOTIC = {
    "grid": tune.grid_search(["x", "y"]),
    "kind": tune.choice([Marker]),
    "net": {"layers": [tune.choice([3]), 4], "lr": tune.loguniform(1e-4, 1.0)},
    "twice": tune.sample_from(lambda config: 2 * config["base"]),
    "base": 3,
}


def exotic(config):
    tune.report(
        {
            "val_loss": config["net"]["lr"],
            "resolved": config["grid"] in ("x", "y")
            and config["kind"].__name__ == "Marker"
            and config["net"]["layers"] == [3, 4]
            and config["twice"] == 6,
        }
    )


def silent(config):
    tune.report({"step": 1, "train_loss": 1.0})


class Stepping(tune.Trainable):
    """A class trainable of a stock kind, without steps of its own."""

    def setup(self, config):
        self.settings, self.count = config, 0

    def step(self):
        self.count += 1
        return {"val_loss": loss(self.settings, self.count), "done": self.count >= self.settings["steps"]}

    def save_checkpoint(self, folder):
        Path(folder, "state.json").write_text(json.dumps({"count": self.count}))

    def load_checkpoint(self, folder):
        self.count = json.loads(Path(folder, "state.json").read_text())["count"]

    def reset_config(self, new_config):
        self.setup(new_config)
        return True


def small(config, space=SPACE):
    """A real session on a tiny regression, and its batches."""
    import torch

    from ray_glocal.session import GlocalSession, Settings
    from ray_glocal.tune import adapted

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, config["width"]), torch.nn.Tanh(), torch.nn.Linear(config["width"], 1)
    )
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[config["optimizer"]]
    optimizer = kind(model.parameters(), lr=config["lr"])
    inputs = torch.linspace(-1, 1, 64).reshape(32, 2)
    batches = [(inputs[i : i + 8], inputs[i : i + 8].sum(1, keepdim=True).sin()) for i in range(0, 32, 8)]

    def mean_square(model, batch):
        return ((model(batch[0]) - batch[1]) ** 2).mean()

    session = GlocalSession(
        model,
        optimizer,
        mean_square,
        mean_square,
        val_batches=batches,
        hyper=adapted(config, space),
        total_steps=config["steps"] * 8,
        settings=Settings(window=4, overhead=None, duty_cycle=0.125, report_every=8),
    )
    return session, batches


class Small(GlocalTrainable):
    """A trial of it as a class."""

    def build(self, config):
        return small(config)


class Inheriting(Small):
    """Tells whether its ancestor's checkpoint could be opened and read."""

    def step(self):
        return {**super().step(), **inheritance(self.session)}


def inheriting(config):
    """The same as a function."""
    session, batches = small(config)
    session.restore(tune.get_checkpoint())
    for batch in session.batches(batches):
        session.step(batch)
        if session.at_report:
            tune.report({**session.metrics(), **inheritance(session)}, checkpoint=session.checkpoint())


def inheritance(session):
    return {"opened": session.adapted.ancestor is not None, "unread": "ancestor" in session.metrics()["warning"]}
