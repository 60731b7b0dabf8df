"""The learning-rate study, run in short."""

import math
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import learning_rate
from rivals.plain import Plain

STUDY = Path(learning_rate.__file__)
PLAN = learning_rate.SMOKE


def test_the_choice_is_the_one_of_the_least_validation_loss():
    trials = [
        {"task": "t", "optimizer": "sgd", "label": "x", "rival": Plain(lr), "score": score}
        for lr, score in ((0.1, 0.7), (0.3, 0.5), (0.9, 2.0))
    ]
    assert learning_rate.best(trials) == {("t", "sgd", "x"): Plain(0.3)}


def test_a_lost_run_counts_as_guessing():
    rows = [{"val_loss": value, "cost": 1.0} for value in (math.nan, math.inf, 9.0)]
    assert learning_rate.average(rows, "val_loss") == pytest.approx(math.log(10))


def test_conclusions_are_those_of_the_rows():
    def page(ours, rival):
        losses = {"constant, tuned": 0.2, "greedy local sign": rival, "session": ours}
        told = {"task": "t", "optimizer": "sgd", "start": 0.1}
        return learning_rate.found(
            [{**told, "label": k, "anywhere": "tuned" not in k, "test_loss": v} for k, v in losses.items()]
        )

    assert "- *t, sgd*: over the better of the tuned grids, `session` 1.10." in page(0.22, 0.3)
    assert "`session` ends lowest, at 1.10." in page(0.22, 0.3)
    assert "`greedy local sign` ends lowest, at 0.90." in page(0.22, 0.18)


def test_no_seed_is_both_tuned_on_and_compared():
    for plan in (learning_rate.FULL, PLAN):
        assert max(plan.seeds) < 10 <= min(plan.tuning_seeds)


@pytest.mark.slow
def test_the_study_runs_in_short(tmp_path):
    command = [sys.executable, str(STUDY), "--smoke", "--out", str(tmp_path), "--workers", "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=280)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    told = (tmp_path / "README.md").read_text()
    for optimizer in learning_rate.OPTIMIZERS:
        labels = {row["label"] for row in rows if row["optimizer"] == optimizer}
        assert labels == {entry.label for entry in (*learning_rate.entries(optimizer), *learning_rate.SESSIONS)}
        assert all(f"| {label} |" in told for label in labels)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    by_label = learning_rate.grouped(rows, "label")
    assert {row["cost"] for row in by_label["constant"]} == {1.0}
    assert {row["cost"] for row in by_label["cosine, tuned"]} == {1.0 + PLAN.candidates}
    assert all(row["cost"] > 1 for row in rows if row["label"].startswith("session"))
    trainings = by_label["true global"][0]["cost"] / by_label["RTHO / OHO"][0]["cost"]
    assert trainings > 3
    # What is differentiated truly and repeatedly is no worse than where it started.
    starts = {(row["optimizer"], row["start"]): row["val_loss"] for row in by_label["constant"]}
    for row in by_label["true global"]:
        assert row["val_loss"] <= starts[row["optimizer"], row["start"]] * 1.001
