"""The study for Optuna's dashboard, loaded by Optuna itself."""

import os

import optuna
import pytest
import recordings
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ray_glocal.errors import ArgumentError
from ray_glocal.report import study as page_study
from ray_glocal.report.experiment import read
from ray_glocal.report.study import write_study


def loaded(file):
    storage = RDBStorage(f"sqlite:///{file}") if file.suffix == ".db" else JournalStorage(JournalFileBackend(str(file)))
    return optuna.load_study(study_name=None, storage=storage)


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_optuna_reads_the_trials_back(tmp_path, name):
    experiment = read(recordings.judged(tmp_path / "mine"))
    write_study(experiment, tmp_path / name)
    study = loaded(tmp_path / name)
    assert study.study_name == "mine"
    assert study.direction.name == "MINIMIZE"
    assert study.metric_names == ["val_loss"]
    trials = study.get_trials()
    assert [trial.user_attrs["trial"] for trial in trials] == list("abcdef")
    assert [trial.params["width"] for trial in trials] == [1, 2, 3, 4, 5, 6]
    assert "lr" not in trials[0].params  # the same in all
    for place, trial in enumerate(trials, start=1):
        steps = experiment.runs[place - 1].rows
        assert trial.intermediate_values == {step: place / step for step in range(1, len(steps) + 1)}
    pruned = {trial.user_attrs["trial"] for trial in trials if trial.state is TrialState.PRUNED}
    assert pruned == {d.trial for d in experiment.ledger.decisions if d.prunes}
    assert study.best_trial.user_attrs["trial"] == "a"
    assert study.best_value == pytest.approx(1 / 3)
    assert trials[0].duration.total_seconds() == pytest.approx(2.5)


def test_choices_fractions_and_states_are_kept(tmp_path):
    experiment = recordings.Experiment(tmp_path / "kinds", mode="max")
    for i, name in enumerate("abcd"):
        experiment.add(name, {"kind": "xy"[i % 2], "lr": 10.0**-i, "flag": bool(i % 2)})
    experiment.report("a", 1, 1.0)
    experiment.end("a")
    experiment.report("b", 1, float("nan"))
    experiment.end("b")
    experiment.report("c", 1, 1.0)
    experiment.fail("c", retry=False)
    experiment.trials["d"].status = "PENDING"
    write_study(read(experiment.write()), tmp_path / "kinds.log")
    trials = loaded(tmp_path / "kinds.log").get_trials()
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL, TrialState.WAITING]
    assert [trial.state for trial in trials] == states
    assert trials[0].distributions["kind"].choices == ("x", "y")
    assert trials[0].distributions["flag"].choices == (False, True)
    assert trials[0].distributions["lr"].log
    assert trials[3].params == {"kind": "y", "lr": 1e-3, "flag": True}


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    experiment = read(recordings.judged(tmp_path / "mine"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write everywhere
    with pytest.raises(
        ArgumentError, match=r"`optuna` must be a new file; got .* a folder that is there and may be wri"
    ):
        write_study(experiment, tmp_path / "study.db")


def test_an_existing_file_is_refused(tmp_path):
    (tmp_path / "study.db").touch()
    with pytest.raises(ArgumentError, match=r"`optuna` must be a new file; got .*study.db"):
        write_study(read(recordings.stock(tmp_path / "asha")), tmp_path / "study.db")


def test_without_optuna_a_study_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(page_study, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match=r"`optuna` must be asked for where optuna is installed.*optuna>=4"):
        write_study(read(recordings.stock(tmp_path / "asha")), tmp_path / "study.db")
