"""Experiments whose results Tune's loggers did not keep, beside the same ones with their files."""

import dataclasses
import json

import pytest
import recordings
import simulated

from ray_glocal import best_config
from ray_glocal.__main__ import main
from ray_glocal.report.account import summarised, summary
from ray_glocal.report.experiment import read
from ray_glocal.report.page.contents import contents


@pytest.fixture
def both(tmp_path):
    """One experiment with its loggers' files, and the same without."""
    return recordings.judged(tmp_path / "mine"), recordings.judged(tmp_path / "bare" / "mine", logged=False)


def test_ledger_and_snapshot_tell_the_same_trials(both):
    whole, bare = map(summary, both)
    assert bare.trials == whole.trials
    assert (bare.config, bare.adapted, bare.tests, bare.pruned) == (
        whole.config,
        whole.adapted,
        whole.tests,
        whole.pruned,
    )
    assert bare.cost == dataclasses.replace(whole.cost, hypergradients=pytest.approx(whole.cost.hypergradients))
    (note,) = set(bare.notes) - set(whole.notes)
    assert note.startswith("6 of 6 trials left no result.json (TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1 switches it off)")


def test_the_page_differs_in_what_only_results_tell(both):
    whole, bare = (contents(read(folder), summary(folder)) for folder in both)
    for name in ("headline", "curves", "adapted", "calibration", "importance", "decisions"):
        assert getattr(bare, name) == getattr(whole, name), name
    assert bare.spent.steps[-1] == whole.spent.steps[-1] == bare.cost.steps
    assert [len(life.stays) for life in bare.trials] == [1] * 6


def test_best_and_page_come_by_the_command_line(both, capsys):
    bare = both[1]
    assert main(["report", str(bare)]) == 0
    assert (bare / "report.html").exists()
    assert "Best: trial a, val_loss 0.3333" in capsys.readouterr().out
    assert str(best_config(bare)).replace("/bare", "") == str(best_config(both[0]))


def test_without_a_ledger_the_last_results_are_known(tmp_path):
    told = {trial.id: trial for trial in summary(recordings.stock(tmp_path, logged=False)).trials}
    assert {name: (t.status, t.steps, t.best) for name, t in told.items()} == {
        "x": ("done", 4, 0.25),
        "y": ("done", 4, 0.5),
        "z": ("early", 1, 3.0),
    }
    assert told["x"].config == {"lr": 0.1}


def test_trials_that_began_after_the_snapshot_are_the_ledgers(tmp_path):
    experiment = recordings.Experiment(tmp_path, {"grace_period": 3})
    experiment.add("a")
    experiment.snapshot()
    experiment.report("a", 1, 2.0)
    for name, value in (("b", 1.0), ("c", 3.0)):
        experiment.add(name)
        experiment.report(name, 1, value)
    experiment.end("b")
    experiment.add("d")  # waits
    told = {run.id: run for run in read(experiment.write(state=False, logged=False)).runs}
    assert {name: run.ending for name, run in told.items()} == {"a": "running", "b": "done", "c": "running"}
    assert told["b"].folder.name == "train_b_x"
    assert (told["b"].last("val_loss"), told["b"].config) == (1.0, {"width": 2, "lr": 0.5})


def test_a_metric_that_grows_is_told_in_its_own_direction(tmp_path):
    experiment = recordings.Experiment(tmp_path, {}, "accuracy", "max")
    for name, top in (("a", 0.5), ("b", 0.75)):
        experiment.add(name)
        for iteration in (1, 2):
            experiment.report(name, iteration, top - 0.25 / iteration)
        experiment.end(name)
    for rows in experiment.rows.values():  # a trainable that counts iterations alone
        for row in rows:
            del row["step"]
    told = summary(experiment.write(logged=False))
    assert (told.mode, told.best.id, told.best.best, told.best.steps) == ("max", "b", 0.625, 2)
    assert "trials that report no `step` are measured in training iterations." in told.notes


def test_a_trial_that_failed_keeps_its_error(tmp_path):
    experiment = recordings.Experiment(tmp_path)
    experiment.add("a")
    experiment.fail("a", retry=False, error=ValueError("no such width"))
    told = summary(experiment.write(logged=False))
    assert [trial.status for trial in told.trials] == ["failed"]
    assert "no such width" in told.errors[0]


def test_what_tune_pickles_is_left_alone(tmp_path):
    folder = recordings.stock(tmp_path, logged=False)
    file = folder / "experiment_state-2026.json"
    record = json.loads(file.read_text())
    state, metadata = map(json.loads, record["trial_data"][0])
    pickled = {"_type": "CLOUDPICKLE_FALLBACK", "value": "80"}
    state["config"]["net"], metadata["last_result"]["odd"] = pickled, pickled
    record["trial_data"][0] = [json.dumps(state), json.dumps(metadata)]
    file.write_text(json.dumps(record))
    run = next(run for run in read(folder).runs if run.id == "x")
    assert run.config == {"net": None, "lr": 0.1, "seed": 7}
    assert "odd" not in run.rows[0]


@pytest.mark.parametrize("status", ["PENDING", "TERMINATED"])  # as Tune calls it when all is stopped
def test_a_trial_that_was_never_started_is_not_listed(tmp_path, status):
    folder = recordings.stock(tmp_path)
    file = folder / "experiment_state-2026.json"
    record = json.loads(file.read_text())
    waiting = {"trial_id": "w", "status": status, "relative_logdir": "train_w_x", "config": {}}
    record["trial_data"].append([json.dumps(waiting), json.dumps({"last_result": {"trial_id": "w"}})])
    file.write_text(json.dumps(record))
    told = summary(folder)
    assert {trial.id for trial in told.trials} == {"x", "y", "z"}
    assert not any("result.json" in note for note in told.notes)


def test_a_folder_that_the_snapshot_does_not_know_is_one_trial_of_the_ledger(tmp_path):
    experiment = recordings.Experiment(tmp_path, {})
    experiment.add("a")
    experiment.fail("a", retry=False, error=ValueError("no"))
    (trial,) = summary(experiment.write(state=False)).trials
    assert (trial.id, trial.status) == ("a", "failed")


def test_a_configuration_that_was_written_is_read_without_a_file_of_results(both):
    folder = both[0]
    (folder / "train_b_x" / "result.json").unlink()
    (folder / "train_b_x" / "params.json").write_text('{"width": 2, "lr": 0.5, "layers": [3, 4]}')
    run = next(run for run in read(folder).runs if run.id == "b")
    assert run.config["layers"] == [3, 4]
    assert run.steps == next(trial.steps for trial in summary(both[1]).trials if trial.id == "b") > 0


@pytest.mark.filterwarnings("default")  # of Ray's controller
def test_a_simulated_experiment_without_loggers_is_told_like_one_with_them(tmp_path):
    found = []
    for logged in (True, False):
        simulated.experiment(tmp_path / str(logged), trials=8, logged=logged)
        experiment = read(tmp_path / str(logged) / "simulation")
        found.append((experiment, summarised(experiment)))
    (_, whole), (experiment, bare) = found
    assert [run.logged for run in experiment.runs] == [False] * 8
    assert [dataclasses.replace(trial, id="", config={}, reason="") for trial in bare.trials] == [
        dataclasses.replace(trial, id="", config={}, reason="") for trial in whole.trials
    ]
    assert [trial.config for trial in bare.trials] == [trial.config for trial in whole.trials]
    assert bare.cost.seconds == whole.cost.seconds
    assert {trial.status for trial in bare.trials} <= {"done", "pruned"}
