"""The study of architectures: what a short run finds, and that every task of it can be adapted."""

import sys

import pyarrow.parquet as pq
import pytest

import architectures
from ray_glocal import Settings
from study import study
from tasks import OPTIMIZERS


def test_the_sensible_rate_is_the_best_by_validation_loss_and_no_number_never_wins():
    rows = [
        {"task": "a", "optimizer": "sgd", "lr": lr, "val_loss": loss}
        for lr, loss in ((0.1, 0.5), (0.3, 0.4), (1.0, float("nan")))
    ]
    assert architectures.best(rows) == {("a", "sgd"): 0.3}
    assert architectures.best(rows[::-1]) == {("a", "sgd"): 0.3}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("task", [task for task in architectures.ALL if task.startswith("digits")])
def test_a_session_raises_a_learning_rate_that_is_far_too_small(task, name, monkeypatch):
    monkeypatch.setattr(architectures, "SETTINGS", Settings(duty_cycle=0.5))  # which no clock has a say in
    lr = {"sgd": 3e-3, "adamw": 1e-5}[name]
    (row,) = architectures.run(architectures.Cell(task, name, lr, *architectures.POOR, True, 200, 128))
    assert row["curve"][-1]["lr"] > 2 * lr


@pytest.mark.slow
def test_in_a_short_run_the_session_leaves_its_poor_start_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["architectures.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    architectures.main(study("architectures", None))
    told = {row["arm"]: row for row in pq.read_table(tmp_path / "rows.parquet").to_pylist()}
    assert tuple(told) == architectures.ARMS
    assert told["session"]["val_loss"] < 0.5 * told["poor start"]["val_loss"]
    assert "| digits-mlp | adamw |" in (tmp_path / "README.md").read_text()
    assert (tmp_path / "figure.png").exists()
