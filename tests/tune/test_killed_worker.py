"""A trial whose worker is killed mid-run ends exactly as one that was not: weights, values and trace, bit for bit."""

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from ray import tune
from torch import nn
from torch.nn import functional as F

from ray_glocal import GlocalSession, Settings, adapted
from ray_glocal.tune import GlocalTrainable

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]

SPACE = {"width": tune.choice([8]), "lr": tune.loguniform(1e-4, 1.0), "weight_decay": tune.loguniform(1e-6, 1e-1)}
STEPS = 120
WAYS = {"first-order": {}, "windows": {"hypergradients": "windows", "averaging": False}}


def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(256, 6, generator=generator)
    return inputs, inputs[:, :3].abs().argmax(1)


def build(config):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, config["width"]), nn.GELU(), nn.Dropout(0.1), nn.Linear(config["width"], 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["lr"], weight_decay=config["weight_decay"])
    inputs, labels = data()

    def loss(model, batch):
        return F.cross_entropy(model(batch[0]), batch[1])

    session = GlocalSession(
        model,
        optimizer,
        loss,
        loss,
        val_batches=[(inputs[192:], labels[192:])],
        hyper=adapted(config, SPACE),
        total_steps=STEPS,
        settings=Settings(
            **WAYS[config["way"]], window=8, search_window=4, overhead=None, duty_cycle=0.5, report_every=10
        ),
    )
    held = torch.utils.data.TensorDataset(inputs[:192], labels[:192])
    return session, torch.utils.data.DataLoader(held, batch_size=16, shuffle=True)


def die_once(config, step):
    """Kill this process the hard way at the planned step of the first attempt."""
    flag = Path(config["flag"])
    if step == config["kill_at"] and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def train(config):
    session, loader = build(config)
    session.restore(tune.get_checkpoint())
    for batch in session.batches(loader):
        session.step(batch)
        die_once(config, session.step_count)
        if session.at_report:
            tune.report(session.metrics(), checkpoint=session.checkpoint())


class Train(GlocalTrainable):
    def build(self, config):
        session, loader = build(config)
        plain_step = session.step

        def step(batch):
            loss = plain_step(batch)
            die_once(config, session.step_count)
            return loss

        session.step = step
        return session, loader


def ended(trainable, way, folder, kill_at):
    """The last checkpoint of one trial, and its trace."""
    config = {
        "width": 8,
        "lr": 3e-3,
        "weight_decay": 1e-3,
        "flag": str(folder / "flag"),
        "kill_at": kill_at,
        "way": way,
    }
    tuner = tune.Tuner(
        trainable,
        param_space=config,
        run_config=tune.RunConfig(storage_path=str(folder), failure_config=tune.FailureConfig(max_failures=1)),
    )
    (result,) = tuner.fit()
    assert result.error is None
    assert (folder / "flag").exists() == (kill_at > 0)
    with result.checkpoint.as_directory() as saved:
        plain = torch.load(Path(saved, "session.pt"), weights_only=True)
        return plain, pq.read_table(Path(saved, "trace.parquet"))


@pytest.mark.parametrize(("trainable", "way"), [(train, "first-order"), (train, "windows"), (Train, "first-order")])
def test_a_worker_killed_inside_a_window_leaves_no_trace(tmp_path, trainable, way):
    (tmp_path / "calm").mkdir()
    (tmp_path / "killed").mkdir()
    calm, calm_trace = ended(trainable, way, tmp_path / "calm", 0)
    killed, killed_trace = ended(trainable, way, tmp_path / "killed", 77)
    assert calm["step"] == killed["step"] == STEPS
    assert len(calm_trace) > 10
    assert repr(killed_trace.to_pylist()) == repr(calm_trace.to_pylist())  # NaN, where nothing was measured, too
    assert calm["model"].keys() == killed["model"].keys()
    assert all(torch.equal(calm["model"][name], killed["model"][name]) for name in calm["model"])
    assert calm["values"] == killed["values"]
