"""The main job on a real local Ray, and its faults."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import trainables
from experiments import JOURNAL, OURS, freeze_between_writes, memory, trials_known_to_tune
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from trainables import SPACE

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling import journal
from ray_glocal.tune import GlocalScheduler, GlocalSearch

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray"), pytest.mark.filterwarnings("default")]


def run(trainable, folder, **options):
    """`tune.run` as a user would call it, quiet and with the space given twice."""
    options = {"num_samples": 10, "reuse_actors": True, "verbose": 0, "storage_path": str(folder), **options}
    return tune.run(trainable, name="experiment", config=SPACE, **options)


def pair(**options):
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    return search, GlocalScheduler(metric="val_loss", mode="min", search=search, grace_period=1, **options)


def best_width(analysis):
    return analysis.get_best_trial("val_loss", "min").config["width"]


def test_the_main_job_by_tune_run(tmp_path):
    search, scheduler = pair()
    analysis = run(trainables.forecasting, tmp_path, search_alg=search, scheduler=scheduler)
    assert [t.status for t in analysis.trials] == ["TERMINATED"] * 10
    records = search.ledger.trials
    assert set(records) == {t.trial_id for t in analysis.trials}
    origins = [r.added.origin for r in records.values()]
    assert origins[:5] == ["cover"] * 5  # half of the samples suffice for all but one of the six configurations
    assert "seed" in origins[5:]
    assert {r.status for r in records.values()} == {"completed"}
    pruned = [t for t, r in records.items() if r.pruned]
    assert pruned
    assert len(pruned) < 10
    rows = scheduler.decisions()
    assert {row["trial"] for row in rows if row["action"] == "stop"} == set(pruned)
    assert pq.read_table(Path(analysis.experiment_path, "decisions.parquet")).to_pylist() == rows
    assert best_width(analysis) == 4
    handed = [t for t in analysis.trials if t.last_result["inherited"]]
    assert handed
    for trial in handed:  # the ancestor had ended, and its checkpoint is there
        added = records[trial.trial_id].added
        assert os.path.isdir(added.weights)
        ancestor = records[added.ancestor]
        assert abs(math.log(trial.config["lr"] / ancestor.latest.hyper["lr"])) < 1


def test_the_main_job_by_tuner_maximising_a_metric(tmp_path):
    search = GlocalSearch(SPACE, seed=0)
    scheduler = GlocalScheduler(grace_period=1, search=search)
    tuner = tune.Tuner(
        trainables.curve,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=6,
            search_alg=search,
            scheduler=scheduler,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    assert len(scheduler.ledger.trials) == 6  # the user's own objects hold what happened
    assert scheduler.ledger is search.ledger
    assert len(results) == 6
    assert results.get_best_result().metrics["accuracy"] == max(r.metrics["accuracy"] for r in results)
    assert results.get_best_result().metrics["step"] == 9
    table = pq.read_table(Path(results.experiment_path, "decisions.parquet")).to_pylist()
    assert all(row["forecast"] < 0 and "final accuracy -" in row["reason"] for row in table)


def test_a_class_trainable_of_a_real_session_with_reused_actors(tmp_path):
    search, scheduler = pair()
    analysis = run(trainables.Small, tmp_path, search_alg=search, scheduler=scheduler, num_samples=8)
    assert [t.status for t in analysis.trials] == ["TERMINATED"] * 8
    best = analysis.get_best_trial("val_loss", "min")
    assert best.last_result["step"] == best.last_result["total_steps"] == 72
    assert all("lr" in r.latest.hyper for r in search.ledger.trials.values())
    assert all(r.checkpoint for r in search.ledger.trials.values())


def test_a_stock_class_trainable_under_stock_random_search(tmp_path):
    scheduler = GlocalScheduler(metric="val_loss", mode="min", grace_period=1)
    space = {**SPACE, "width": tune.grid_search([1, 2, 4])}
    analysis = tune.run(
        trainables.Stepping,
        name="experiment",
        config=space,
        num_samples=2,
        scheduler=scheduler,
        reuse_actors=True,
        verbose=0,
        storage_path=str(tmp_path),
    )
    assert len(analysis.trials) == 6
    kept = journal.read(Path(analysis.experiment_path, "glocal-ledger.json").read_text())
    assert {r.status for r in kept.trials.values()} == {"completed"}
    assert {d.rule for d in kept.decisions} == {"rung"}  # whether any of them stops depends on who comes first
    assert kept.events == scheduler.ledger.events


@pytest.mark.parametrize("passed", [trainables.EXOTIC, {"base": 3}])
def test_nested_spaces_functions_grids_and_objects_reach_the_trial_resolved(tmp_path, passed):
    tuner = tune.Tuner(
        trainables.exotic,
        param_space=passed,
        tune_config=tune.TuneConfig(
            num_samples=2,
            search_alg=GlocalSearch(trainables.EXOTIC, "val_loss", "min"),
            scheduler=GlocalScheduler(),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert [r.metrics["resolved"] for r in results] == [True, True]
    assert {r.config["grid"] for r in results} == {"x", "y"}


def test_stock_asha_with_our_search(tmp_path):
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    asha = ASHAScheduler(metric="val_loss", mode="min", time_attr="step", max_t=9, grace_period=1, reduction_factor=3)
    analysis = run(trainables.forecasting, tmp_path, search_alg=search, scheduler=asha)
    assert [t.status for t in analysis.trials] == ["TERMINATED"] * 10
    assert {r.status for r in search.ledger.trials.values()} == {"completed"}
    assert any(r.added.ancestor for r in search.ledger.trials.values())


def test_diverged_trials_stop_at_once(tmp_path):
    search, scheduler = pair()
    analysis = run(trainables.diverging, tmp_path, search_alg=search, scheduler=scheduler, num_samples=6)
    bad = [t for t in analysis.trials if t.config["optimizer"] == "sgd"]
    assert len(bad) >= 1
    assert {t.last_result["step"] for t in bad if math.isnan(t.last_result["val_loss"])} == {2}
    assert {
        row["rule"] for row in scheduler.decisions() if row["trial"] in {t.trial_id for t in bad} and row["step"] == 2
    } <= {"nonfinite"}
    assert any(t.last_result["step"] == 9 for t in analysis.trials)


def test_trials_that_raise_or_die_come_back(tmp_path):
    search, scheduler = pair(rules=("nonfinite",))
    analysis = run(trainables.faulty, tmp_path, search_alg=search, scheduler=scheduler, num_samples=2, max_failures=2)
    assert [t.last_result["step"] for t in analysis.trials] == [9, 9]
    for record in search.ledger.trials.values():
        assert (record.status, record.attempt) == ("completed", 2)
        assert [step for step, _ in record.losses] == list(range(1, 10))


def test_trials_that_fail_for_good_leave_the_rest_alone(tmp_path):
    search, scheduler = pair()
    analysis = run(
        trainables.faulty, tmp_path, search_alg=search, scheduler=scheduler, num_samples=2, raise_on_failed_trial=False
    )
    assert [t.status for t in analysis.trials] == ["ERROR", "ERROR"]
    assert {r.status for r in search.ledger.trials.values()} == {"errored"}
    assert search.ledger.live == frozenset()


def test_errored_trials_resumed_by_tune_run_find_their_memory(tmp_path):
    before = ()
    for resume in (False, "AUTO+ERRORED", "AUTO+ERRORED"):  # one fault at a time, each time with new objects
        search, scheduler = pair(rules=("nonfinite",))
        options = {"num_samples": 2, "raise_on_failed_trial": False, "resume": resume}
        analysis = run(trainables.faulty, tmp_path, search_alg=search, scheduler=scheduler, **options)
        assert search.ledger.events[: len(before)] == before
        before = search.ledger.events
        assert scheduler.ledger is search.ledger
    assert [t.last_result["step"] for t in analysis.trials] == [9, 9]
    assert [(r.status, r.attempt) for r in search.ledger.trials.values()] == [("completed", 2)] * 2
    assert search.ledger.proposals == 2


def test_a_metric_that_is_never_reported_is_named_beside_those_that_are(tmp_path, monkeypatch, caplog):
    search, scheduler = pair()
    with pytest.raises(Exception, match=r"(?s)metric\(s\) `val_loss` that `GlocalScheduler` expects.*'train_loss'"):
        run(trainables.silent, tmp_path / "strict", search_alg=search, scheduler=scheduler, num_samples=1)
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    search, scheduler = pair()
    run(trainables.silent, tmp_path / "lax", search_alg=search, scheduler=scheduler, num_samples=2)
    assert "never reported the metric `val_loss`; it reported [" in caplog.text
    assert "'train_loss'" in caplog.text


@pytest.mark.parametrize("kept", [1, 2])
def test_too_few_checkpoints_are_refused_before_anything_runs(tmp_path, kept):
    search, scheduler = pair()
    limited = tune.CheckpointConfig(num_to_keep=kept)
    with pytest.raises(ArgumentError, match=rf"`num_to_keep` must be None or at least 3 .*; got {kept}.*weights=False"):
        run(trainables.curve, tmp_path, search_alg=search, scheduler=scheduler, checkpoint_config=limited)
    assert search.ledger.proposals == 1
    search = GlocalSearch(SPACE, "val_loss", "min", weights=False)
    analysis = run(
        trainables.curve,
        tmp_path / "fine",
        search_alg=search,
        scheduler=GlocalScheduler(),
        checkpoint_config=limited,
        num_samples=1,
    )
    assert analysis.trials[0].status == "TERMINATED"


def test_no_metric_anywhere_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(ArgumentError, match="`metric` must name the reported value to optimise"):
        tune.run(
            trainables.curve, config={"steps": 1}, scheduler=GlocalScheduler(), verbose=0, storage_path=str(tmp_path)
        )


DRIVER = """
import sys
import ray
from ray import tune
import trainables
from ray_glocal.tune import GlocalScheduler, GlocalSearch

folder, ours, again = sys.argv[1], sys.argv[2] == "ours", sys.argv[3] == "again"


def slow(config):
    import time
    for step in range(trainables.resumed() + 1, 13):
        time.sleep(0.5)  # a crash must come well before the end, on a busy machine too
        trainables.report(step, {"val_loss": trainables.loss(config, step)})


ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
if again:
    tuner = tune.Tuner.restore(folder + "/experiment", slow)
else:
    search = GlocalSearch(trainables.SPACE, seed=0) if ours else None
    tuner = tune.Tuner(
        slow,
        param_space=trainables.SPACE,
        tune_config=tune.TuneConfig(metric="val_loss", mode="min", num_samples=6, search_alg=search,
                                    scheduler=GlocalScheduler(grace_period=1), reuse_actors=True),
        run_config=tune.RunConfig(name="experiment", storage_path=folder, verbose=0),
    )
results = tuner.fit()
scheduler = tuner._local_tuner._tune_config.scheduler
assert scheduler.ledger.view(scheduler._judge.ladder).population(0) == 6, "rungs"
print("TRIALS", len(results), len(results.errors), len(scheduler.ledger.trials), len(scheduler.ledger.live))
"""


@pytest.mark.parametrize("searcher", ["ours", "stock"])
def test_a_killed_driver_is_restored_with_its_rungs(tmp_path, searcher):
    here = Path(__file__).parent
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parent.parent}", "TUNE_GLOBAL_CHECKPOINT_S": "1"}
    command = [sys.executable, str(script), str(tmp_path), searcher]
    first = subprocess.Popen(
        [*command, "first"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    experiment, pattern = tmp_path / "experiment", OURS if searcher == "ours" else JOURNAL
    try:
        wait_for_memory(experiment, pattern, first)
        freeze_between_writes(
            first.pid, experiment, lambda: set(memory(experiment, pattern).trials) == trials_known_to_tune(experiment)
        )
        saved = memory(experiment, pattern)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
    second = subprocess.run([*command, "again"], env=environment, capture_output=True, text=True, timeout=200)
    assert "TRIALS 6 0 6 0" in second.stdout, second.stdout + second.stderr
    kept = memory(experiment, pattern)
    assert kept.events[: len(saved.events)] == saved.events  # nothing was forgotten, nothing judged twice
    keys = [event.key for event in kept.events]
    assert len(set(keys)) == len(keys)


def wait_for_memory(folder, pattern, process):
    """Until two trials have been on a rung, as far as the memory on disk tells."""
    for _ in range(600):
        if len({d.trial for d in memory(folder, pattern).decisions}) >= 3:
            return
        if process.poll() is not None:
            pytest.fail(process.stderr.read().decode())
        time.sleep(0.1)
    pytest.fail("the driver saved nothing within a minute")


def test_memory_is_text():
    assert json.loads(journal.HEADER) == {"ray_glocal_ledger": 1}
