"""Where users already are: Tune's loggers, PyTorch Lightning, Hugging Face's Trainer."""

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ray import tune
from ray.tune.logger import TBXLoggerCallback
from tensorboardX.proto.event_pb2 import Event

from ray_glocal import GlocalSession, Hyperparameter
from ray_glocal.session import Settings
from ray_glocal.simulate import simulate

EXAMPLES = Path(__file__).parents[1] / "examples"
EVERY, TOTAL = 20, 60


def scalars(folder):
    """What TensorBoard would show of a trial: (tag, step) of every scalar in its event file, as they lie there.

    Tune copies the file while it is being written; the whole one is the longest.
    """
    file = max(folder.rglob("events.out.tfevents.*"), key=lambda file: file.stat().st_size)
    content, place, found = file.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        found += [(value.tag, event.step) for value in event.summary.value]
        place += 16 + length
    return found


def train(config):
    """A trial that reports a session's metrics."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    inputs = torch.randn(8, 2)

    def loss(model, batch):
        return (model(batch) - batch.sum(1, keepdim=True)).square().mean()

    session = GlocalSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01),
        loss,
        loss,
        val_batches=[inputs],
        hyper=[Hyperparameter("lr", 0.01, 1e-4, 1.0, "log")],
        total_steps=TOTAL,
        settings=Settings(report_every=EVERY, overhead=None, duty_cycle=0.5),
    )
    for batch in session.batches([inputs]):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics())


def test_tensorboard_counts_inner_steps(tmp_path):
    told = {"seconds": lambda config, result: 1.0, "folder": tmp_path, "callbacks": [TBXLoggerCallback()]}
    simulate(train, {"x": tune.uniform(0, 1)}, metric="val_loss", mode="min", num_samples=1, **told)
    found = scalars(tmp_path)
    for name in ("val_loss", "hyper/lr", "elasticity/lr", "cost/steps"):
        assert [step for tag, step in found if tag == f"ray/tune/{name}"] == list(range(EVERY, TOTAL + 1, EVERY))


def printed(script, *packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'ray_glocal[integrations]'")
    command = [sys.executable, str(EXAMPLES / script)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=280).stdout


def figure(told, name):
    """The number that follows a name in what an example printed."""
    return float(told.partition(f"{name} ")[2].split()[0].rstrip(","))


@pytest.mark.slow
def test_lightning_leads_a_session_through_its_epochs():
    told = printed("lightning_module.py", "lightning")
    assert told.startswith(f"{10 * (1000 // 32)} steps, ")
    assert figure(told, "val_loss") < 0.3
    assert figure(told, "accuracy") > 0.9


@pytest.mark.slow
def test_the_trainer_of_transformers_leads_a_session_and_evaluates_its_averaged_weights():
    told = printed("transformers_trainer.py", "transformers", "accelerate")
    told = told[told.index(f"\n{9 * (1000 // 32)} steps, ") :]
    assert figure(told, "val_loss") < 0.5
    assert figure(told, "test loss") < 0.5
