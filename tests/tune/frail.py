"""Trainables that fail as planned. No torch here: a worker that imports little starts fast."""

import json
import math
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import ray
from ray import tune

STEPS = 9
BALLAST = 64 << 20  # bytes in a checkpoint that takes long enough to copy for somebody to die meanwhile


def loss(config, step):
    """Falls with the step; lower for wide networks and for learning rates near 0.01."""
    return 1 / config["width"] + abs(math.log10(config["lr"] / 0.01)) + 1 / step


def beat(config, trial, step):
    """Leave a line for the test that watches."""
    node = ray.get_runtime_context().get_node_id()
    words = (trial, step, os.getpid(), node, ray.util.get_node_ip_address())
    with Path(config["beats"]).open("a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")


def first_time(config, what):
    """Whether `what` has not happened before in this experiment, on any attempt."""
    try:
        Path(f"{config['beats']}.{what}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def due(config, trial):
    """Whether `trial` shall fail: once at most, and only a few trials in all."""
    return first_time(config, f"trial{trial}") and any(first_time(config, f"fault{n}") for n in range(config["faults"]))


def resumed():
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        return json.loads(Path(folder, "state.json").read_text())["step"]


def report(config, step, value=None, ballast=0):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "state.json").write_text(json.dumps({"step": step}))
        if ballast:
            Path(folder, "ballast").write_bytes(bytes(ballast))
        beat(config, tune.get_context().get_trial_id(), step)
        value = loss(config, step) if value is None else value
        tune.report({"step": step, "val_loss": value}, checkpoint=tune.Checkpoint.from_directory(folder))


def steady(config):
    """Fails by nobody's plan; as slow as it is told to be."""
    for step in range(resumed() + 1, STEPS + 1):
        time.sleep(config["pace"])
        report(config, step)


def failing(config):
    """Fails in the way that it is told to, once in each of a few trials, in the middle of a step."""
    trial = tune.get_context().get_trial_id()
    for step in range(resumed() + 1, STEPS + 1):
        if step == 2 and due(config, trial):
            FAULTS[config["fault"]](config, trial, step)
        report(config, step)


def hanging(config):
    """Hangs, under a deadline of the library's."""
    from ray_glocal.tune import watched

    for step in watched(range(resumed() + 1, STEPS + 1), 2.0):
        if step == 2 and first_time(config, "hung"):
            HANGS[config["fault"]]()
        report(config, step)


def diverging(config):
    """Reports no numbers under one of the optimizers."""
    odd = {1: math.nan, 2: math.inf, 4: -math.inf}[config["width"]]
    for step in range(resumed() + 1, STEPS + 1):
        report(config, step, odd if config["optimizer"] == "sgd" and step == 2 else None)


def hopeless(config):
    """Fails whenever it is tried, under one of the optimizers."""
    for step in range(resumed() + 1, STEPS + 1):
        if config["optimizer"] == "sgd" and step == 2:
            raise RuntimeError("the trainable raises")
        report(config, step)


def _raises(config, trial, step):
    raise RuntimeError("the trainable raises")


def _leaves(config, trial, step):
    os._exit(1)


def _dies(config, trial, step):
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_while_writing(config, trial, step):
    """Die when a part of the checkpoint's file is in the storage."""
    pattern = f"*{trial}*/checkpoint_*/ballast"

    def watch():
        while not any(0 < f.stat().st_size < BALLAST for f in Path(config["storage"]).glob(pattern)):
            time.sleep(0.0005)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    report(config, step, ballast=BALLAST)
    raise AssertionError("the checkpoint was written before anybody could die")


def _loses_checkpoints(config, trial, step):
    """Fail when the storage has lost the checkpoints of this trial."""
    written = sorted(Path(config["storage"]).glob(f"*{trial}*/checkpoint_*"))
    assert written
    for folder in written:
        shutil.rmtree(folder)
    raise RuntimeError("the trainable raises")


FAULTS = {
    "raises": _raises,
    "leaves": _leaves,
    "dies": _dies,
    "dies while writing": _dies_while_writing,
    "loses checkpoints": _loses_checkpoints,
}
HANGS = {
    "sleeping": lambda: time.sleep(3600),
    "in a call that keeps the interpreter to itself": lambda: re.match(r"(a|a)*$", "a" * 64 + "b"),
}


class Failing(tune.Trainable):
    """The class twin of `failing`, with a checkpoint at every report."""

    def setup(self, config):
        self.settings, self.count, self.due = config, 0, False

    def step(self):
        self.count += 1
        self.due = self.count == 2 and due(self.settings, self.trial_id)
        if self.due and self.settings["fault"] != "dies while writing":
            FAULTS[self.settings["fault"]](self.settings, self.trial_id, self.count)
        beat(self.settings, self.trial_id, self.count)
        result = {"step": self.count, "val_loss": loss(self.settings, self.count), "done": self.count >= STEPS}
        return {**result, "should_checkpoint": True}

    def save_checkpoint(self, folder):
        text = json.dumps({"count": self.count})
        if self.due:
            Path(folder, "state.json").write_text(text[:5])
            os.kill(os.getpid(), signal.SIGKILL)
        Path(folder, "state.json").write_text(text)

    def load_checkpoint(self, folder):
        self.count = json.loads(Path(folder, "state.json").read_text())["count"]

    def reset_config(self, new_config):
        self.setup(new_config)
        return True


class Gathering(Failing):
    """Goes on only when as many trials as it is told to are under way at once."""

    def step(self):
        if self.count == 0:
            first_time(self.settings, f"here{self.trial_id}")
            beats = Path(self.settings["beats"])
            while len(list(beats.parent.glob(f"{beats.name}.here*"))) < self.settings["together"]:
                time.sleep(0.05)
        return super().step()
