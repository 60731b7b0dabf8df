"""Where users already are: Tune's loggers, PyTorch Lightning, Hugging Face's Trainer.

What is not installed is skipped, but in CI, which sets `INTEGRATIONS=required`.
"""

import importlib.util
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ray import cloudpickle, tune
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


def needed(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        ended = pytest.fail if os.environ.get("INTEGRATIONS") == "required" else pytest.skip
        ended(f"needs {', '.join(missing)}: pip install -e '.[integrations]'")


def test_what_is_not_installed_is_skipped_and_fails_where_it_is_required(monkeypatch):
    monkeypatch.delenv("INTEGRATIONS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needs no_such_package: pip install -e '.\[integrations\]'"):
        needed("torch", "no_such_package")
    monkeypatch.setenv("INTEGRATIONS", "required")
    with pytest.raises(pytest.fail.Exception, match="needs no_such_package"):
        needed("torch", "no_such_package")


@pytest.mark.slow
def test_mlflow_counts_inner_steps(tmp_path):
    needed("mlflow", "sqlalchemy")
    from mlflow.tracking import MlflowClient
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    store = f"sqlite:///{tmp_path}/runs.db"
    callback = MLflowLoggerCallback(tracking_uri=store, experiment_name="tuned")
    told = {"seconds": lambda config, result: 1.0, "folder": tmp_path, "callbacks": [callback]}
    simulate(train, {"x": tune.uniform(0, 1)}, metric="val_loss", mode="min", num_samples=1, **told)
    client = MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("tuned").experiment_id])
    for name in ("val_loss", "hyper/lr", "elasticity/lr", "cost/steps"):
        history = client.get_metric_history(run.info.run_id, name)
        assert [told.step for told in history] == list(range(EVERY, TOTAL + 1, EVERY))
    assert "x" in run.data.params
    assert "warning" not in run.data.metrics  # a text


def logged(file):
    """The history of an offline run of W&B's: records in blocks of 32 KiB, each part after 7 bytes that tell of it."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, record, rows = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last part
            history = Record.FromString(record).history.item
            rows += [{"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in history}]
            record = b""
    return [row for row in rows if row]


@pytest.mark.cluster
def test_weights_and_biases_has_inner_steps_beside_its_own(local_ray, tmp_path, monkeypatch):
    needed("wandb")
    from ray.air.integrations.wandb import WandbLoggerCallback

    monkeypatch.setenv("WANDB_MODE", "offline")  # else Tune asks for a key
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find it by its name
    callback = WandbLoggerCallback(project="tuned", mode="offline", dir=str(tmp_path))
    config = tune.TuneConfig(metric="val_loss", mode="min")
    kept = tune.RunConfig(storage_path=str(tmp_path), callbacks=[callback])
    tune.Tuner(train, param_space={"x": tune.uniform(0, 1)}, tune_config=config, run_config=kept).fit()
    (file,) = tmp_path.rglob("offline-run-*/run-*.wandb")
    rows = logged(file)
    assert [row["step"] for row in rows] == list(range(EVERY, TOTAL + 1, EVERY))
    assert all(row.keys() >= {"val_loss", "hyper/lr", "elasticity/lr", "cost/steps"} for row in rows)
    assert all("warning" not in row for row in rows)  # a text


def printed(script, *packages):
    needed(*packages)
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
