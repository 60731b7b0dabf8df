"""What the scheduler remembers of an experiment: kept, restored, copied, repaired, and never the cause of its end."""

import dataclasses
import pickle
import resource
from types import SimpleNamespace

import pytest
from hooks import CONTINUE, SPACE, STOP, Tune

from ray_glocal.names import LEDGER_FILE
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Reported
from ray_glocal.tune import GlocalScheduler, GlocalSearch


def test_restored_trials_are_upserted(begin, tmp_path):
    driver = begin()
    for name in "abc":
        driver.add(name)
    driver.trials["b"].status = "TERMINATED"
    driver.trials["c"].status = "ERROR"
    for trial in driver.trials.values():
        driver.scheduler.on_trial_add(driver, trial)
        driver.scheduler.on_trial_add(driver, trial)
    assert {t: r.status for t, r in driver.scheduler.ledger.trials.items()} == {
        "a": "live",
        "b": "completed",
        "c": "errored",
    }
    driver.trials["c"].status = "PENDING"  # resumed on request
    driver.scheduler.on_trial_add(driver, driver.trials["c"])
    assert driver.scheduler.ledger.trial("c").status == "live"
    driver.scheduler.on_trial_remove(driver, driver.trials["c"])
    assert driver.scheduler.ledger.live == {"a"}


def test_a_trial_that_only_the_restored_memory_knows_is_given_up(begin, caplog):
    driver = begin()
    for name in ("best", "other"):
        driver.add(name)
    driver.report("best", 1, 0.0)
    again = begin()  # its file was saved later than the experiment, which does not know of the best
    again.trials = {"other": driver.trials["other"]}
    again.scheduler.on_trial_add(again, again.trials["other"])
    assert again.scheduler.choose_trial_to_run(again) is again.trials["other"]
    assert again.scheduler.ledger.live == {"other"}
    assert again.scheduler.ledger.trial("best").status == "lost"
    assert "Tune has lost the trials ['best'] with its last snapshot; they are given up." in caplog.text
    again.add("c")
    assert [again.report(name, 1, 9.0) for name in ("other", "c")] == [CONTINUE] * 2, "nobody better is left to win"


@pytest.mark.parametrize("status", ["RUNNING", "TERMINATED"])
def test_results_that_the_restored_memory_lacks_are_recalled(begin, tmp_path, status):
    """As they were recorded when they came; but what lies behind no checkpoint of a live trial comes again."""
    driver = begin(max_t=27)
    driver.add("a")
    losses = [3.0, 2.5, 2.2, 2.0, 1.9]
    for step, loss in enumerate(losses, 1):
        driver.report("a", step, loss)
        if step == 2:
            driver.scheduler.save(str(tmp_path / "early"))
    again = begin(max_t=27)
    again.add("b")  # which begins the experiment
    again.scheduler.restore(str(tmp_path / "early"))
    again.trials["a"] = trial = driver.trials["a"]
    trial.status, trial.last_result = status, {"training_iteration": 5, "val_loss": losses[-1]}
    trial.metric_n_steps = {
        "training_iteration": {"5": [1, 2, 3, 4, 5], "10": [1, 2, 3, 4, 5]},
        "val_loss": {"5": losses, "10": losses},
    }
    manager, held = trial.run_metadata.checkpoint_manager, SimpleNamespace(metrics={"training_iteration": 5})
    manager.latest_checkpoint_result = held if status == "RUNNING" else None
    again.scheduler.on_trial_add(again, trial)
    record, before = (d.scheduler.ledger.trial("a") for d in (again, driver))
    assert record.losses == before.losses
    events = [e for e in again.scheduler.ledger.events if isinstance(e, Reported)]
    assert [event.recalled for event in events] == [False, False, True, True, True]
    expected = [e for e in driver.scheduler.ledger.events if isinstance(e, Reported)]
    assert [dataclasses.replace(event, recalled=False) for event in events] == expected
    assert record.status == ("live" if status == "RUNNING" else "completed")
    if status == "RUNNING":
        assert again.report("a", 6, 1.8) is driver.report("a", 6, 1.8)


def test_what_the_restored_memory_has_forgotten_is_not_proposed_again(tmp_path):
    search = GlocalSearch(SPACE, "val_loss", "min")
    search.save(str(tmp_path / "early"))
    driver = Tune(GlocalScheduler(search=search), tmp_path, search)
    config = search.suggest("a")
    driver.add("a")
    restored = GlocalSearch(SPACE, "val_loss", "min")
    restored.restore(str(tmp_path / "early"))
    again = Tune(GlocalScheduler(search=restored), tmp_path, restored)
    again.add("a")
    assert again.scheduler.choose_trial_to_run(again) is again.trials["a"]
    proposed = restored.suggest("b")
    assert (proposed["width"], proposed["lr"]) != (config["width"], config["lr"])
    again.add("somebody else's")  # as of a repeater, which runs one proposal several times
    assert restored.ledger.proposals == 2


def test_the_schedulers_own_memory_survives_and_is_text(begin):
    driver = begin()
    for i, name in enumerate("ab"):
        driver.add(name)
        driver.report(name, 1, float(i))
    again = begin(grace_period=7)  # the ladder that was settled stays
    for trial in driver.trials.values():
        again.trials[trial.trial_id] = trial
        again.scheduler.on_trial_add(again, trial)
    assert again.scheduler.ledger.events == driver.scheduler.ledger.events
    again.add("c")
    assert again.report("c", 1, 9.0) is STOP
    kept = journal.read((driver.folder / LEDGER_FILE).read_text())
    assert kept == again.scheduler.ledger


def test_another_experiment_begins_with_an_empty_memory(begin, tmp_path):
    driver = begin()
    driver.add("a")
    driver.folder = tmp_path / "other"
    driver.folder.mkdir()
    driver.add("b")
    assert list(driver.scheduler.ledger.trials) == ["b"]


def test_a_torn_memory_is_said_and_a_damaged_one_set_aside(begin, tmp_path, caplog):
    driver = begin()
    driver.add("a")
    path = tmp_path / LEDGER_FILE
    path.write_text(path.read_text() + '{"event":')
    begin().add("a")
    assert "torn by a crash and is dropped" in caplog.text
    path.write_text("no ledger\n")
    again = begin()
    again.add("a")
    assert "The memory of earlier decisions is lost; it is kept as" in caplog.text
    assert path.with_suffix(".damaged").read_text() == "no ledger\n"
    assert journal.read(path.read_text()) == again.scheduler.ledger


def test_a_full_disk_costs_the_memory_not_the_run(begin, tmp_path, caplog):
    (tmp_path / "gone").write_text("a file in the place of the folder")
    driver = begin(folder=tmp_path / "gone")
    driver.add("a")
    assert driver.report("a", 1, 1.0) is CONTINUE
    assert "The ledger could not be written" in caplog.text
    (tmp_path / "gone").unlink()  # Tune makes the folder later than it adds the first trial; so does the ledger
    driver.report("a", 2, 1.0)
    assert journal.read((tmp_path / "gone" / LEDGER_FILE).read_text()) == driver.scheduler.ledger
    (tmp_path / "gone" / "decisions.parquet").mkdir()
    driver.complete("a")
    assert "The decisions could not be written" in caplog.text


def test_a_record_that_did_not_fit_on_the_disk_is_written_whole_when_there_is_room(begin, tmp_path):
    driver = begin()
    driver.add("a")
    path, limits = tmp_path / LEDGER_FILE, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limits[1]))
    try:
        driver.report("a", 1, 1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text()[-1] != "\n"  # a part of it fitted
    driver.report("a", 2, 1.0)
    assert journal.read(path.read_text()) == driver.scheduler.ledger


def test_save_and_restore_of_the_scheduler_itself(begin, tmp_path):
    driver = begin()
    driver.add("a")
    driver.report("a", 1, 1.0)
    driver.scheduler.save(str(tmp_path / "state"))
    other = GlocalScheduler("val_loss", "min")
    other.restore(str(tmp_path / "state"))
    assert other.ledger == driver.scheduler.ledger


def test_a_pickled_pair_still_shares_one_ledger(tmp_path):
    search = GlocalSearch(SPACE, "val_loss", "min")
    scheduler = GlocalScheduler(search=search)
    search, scheduler = pickle.loads(pickle.dumps((search, scheduler)))
    assert search.ledger is scheduler.ledger


def test_a_memory_that_somebody_removed_is_written_whole_again(begin, tmp_path):
    driver = begin()
    driver.add("a")
    (tmp_path / LEDGER_FILE).unlink()
    driver.report("a", 1, 1.0)
    assert journal.read((tmp_path / LEDGER_FILE).read_text()) == driver.scheduler.ledger


def test_a_scheduler_at_work_can_be_copied(begin):
    driver = begin()
    driver.add("a")
    twin = pickle.loads(pickle.dumps(driver.scheduler))
    assert twin.ledger == driver.scheduler.ledger
