"""Which checkpoints go, and when: with Tune's own records of snapshots and checkpoints, and no Ray processes."""

import threading
import time
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial
from snapshotting import SESSION, Driver, soon

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.event import Completed, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.tune import GlocalScheduler, retention
from ray_glocal.tune.retention import Retention, resumable


@pytest.fixture
def driver(tmp_path, monkeypatch):
    monkeypatch.setattr(retention, "PERIOD", 0.01)
    return Driver(tmp_path)


@pytest.fixture
def begin(driver):
    begun = []

    def begin(ledger=None, of=driver):
        begun.append(Retention(of, Ledger() if ledger is None else ledger))
        return begun[-1]

    yield begin
    for one in begun:
        one.finish()


def never(told):
    """`told()` is false, though the threads have looked several times."""
    time.sleep(0.15)
    assert not told()


def threads():
    """Those that remove checkpoints."""
    return [thread for thread in threading.enumerate() if thread.name == "ray_glocal retention"]


def listed(trial):
    held = trial.run_metadata.checkpoint_manager.best_checkpoint_results
    return [int(one.checkpoint.path[-6:]) for one in held]


def test_a_superseded_checkpoint_stays_until_the_storage_holds_a_later_snapshot(driver, begin):
    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    kept.follow(trial)
    driver.save()  # names checkpoint 0
    driver.idle()
    driver.report(trial)
    kept.follow(trial)
    assert listed(trial) == [1]  # what Tune lists is what there will be
    never(lambda: driver.left(trial) != [0, 1])
    driver.syncer.go_on.clear()
    driver.save()  # names checkpoint 1, and does not arrive
    never(lambda: driver.left(trial) != [0, 1])
    driver.syncer.go_on.set()
    soon(lambda: driver.left(trial) == [1])


def test_a_copy_that_was_under_way_proves_nothing(driver, begin):
    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    kept.follow(trial)
    driver.syncer.go_on.clear()
    driver.save()
    driver.report(trial)
    kept.follow(trial)
    driver.save()  # Tune saves, and copies nothing, for a copy is under way
    driver.syncer.go_on.set()
    driver.idle()
    never(lambda: driver.left(trial) != [0, 1])
    driver.save()
    soon(lambda: driver.left(trial) == [1])


def test_a_copy_that_fails_proves_nothing(driver, begin):
    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    kept.follow(trial)
    driver.report(trial)
    driver.save()
    driver.idle()
    kept.follow(trial)
    driver.syncer.fails = True
    driver.save()
    never(lambda: driver.left(trial) != [0, 1])
    driver.idle()
    driver.syncer.fails = False
    driver.save()
    soon(lambda: driver.left(trial) == [1])


def test_what_no_snapshot_was_saved_of_goes_at_once(driver, begin):
    kept, trial = begin(), driver.trial("a")
    kept.follow(trial)
    driver.report(trial)
    kept.follow(trial)
    for _ in range(5):
        driver.report(trial)
        kept.follow(trial)
    soon(lambda: driver.left(trial) == [0, 5])  # nobody had looked before the first was made
    driver.save()
    driver.report(trial)
    driver.report(trial)  # two between two looks: the first of them was never named either
    driver.report(trial)
    kept.follow(trial)
    never(lambda: 5 not in driver.left(trial))
    driver.save()
    soon(lambda: driver.left(trial) == [8])


def test_the_last_snapshot_counts_though_tune_has_waited_for_it_and_forgotten_it(driver, begin):
    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    kept.follow(trial)
    driver.save(wait=True)
    driver.report(trial)
    kept.follow(trial)
    never(lambda: driver.left(trial) != [0, 1])
    driver.save(wait=True)
    assert driver.syncer._sync_process is None
    soon(lambda: driver.left(trial) == [1])


def test_a_last_snapshot_that_did_not_arrive_does_not_count(driver, begin):
    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    kept.follow(trial)
    driver.save(wait=True)
    driver.report(trial)
    kept.follow(trial)
    driver.syncer.fails = True
    driver.save(wait=True)
    never(lambda: driver.left(trial) != [0, 1])


def test_of_trials_that_ended_the_weights_stay_and_of_the_best_one_all(driver, begin):
    losses = {"good": 1.0, "bad": 3.0, "better": 0.5, "odd": float("nan")}
    kept = begin(Ledger(Reported(name, 1, loss) for name, loss in losses.items()))
    trials = {name: driver.trial(name) for name in losses}
    for name, trial in trials.items():
        for _ in range(2):
            driver.report(trial)
        kept.follow(trial)
        kept.end(trial)
        trial.status = Trial.TERMINATED
        if name == "good":
            driver.save()
            driver.idle()
            soon(lambda: not threads())
            assert driver.left(trial) == [1]
            assert driver.files(trials["good"], 1) == sorted(SESSION)  # the best so far
    driver.save()
    weights = ["session.pt", "trace.parquet"]
    soon(lambda: [driver.left(trial) for trial in trials.values()] == [[1]] * 4)
    soon(lambda: [driver.files(trials[name], 1) for name in ("good", "bad", "odd")] == [weights] * 3)
    never(lambda: driver.files(trials["better"], 1) != sorted(SESSION))


def test_a_folder_that_is_not_a_sessions_is_left_whole(driver, begin):
    kept, trial = begin(), driver.trial("a")
    files = ("model.bin", "resume-0123456789ab.pt")
    for _ in range(2):
        driver.report(trial, files)
    kept.end(trial)
    trial.status = Trial.TERMINATED
    (driver.folder / "storage" / "a" / "mine").mkdir()
    driver.save()
    soon(lambda: driver.left(trial) == [1])
    never(lambda: driver.files(trial, 1) != sorted(files))
    assert (driver.folder / "storage" / "a" / "mine").is_dir()


def test_a_trial_that_came_back_after_its_end_is_not_reduced(driver, begin):
    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    kept.end(trial)
    kept.follow(trial)  # Tune adds it anew
    driver.save()
    never(lambda: driver.files(trial, 0) != sorted(SESSION))


def test_what_an_earlier_driver_left_is_removed_up_to_the_latest(driver, begin):
    kept, trial = begin(), driver.trial("a")
    for _ in range(4):
        driver.report(trial)
    manager = trial.run_metadata.checkpoint_manager
    manager._checkpoint_results = [manager.best_checkpoint_results[2]]
    manager._latest_checkpoint_result = manager._checkpoint_results[0]
    kept.restored(trial)  # 0 and 1 are known to nobody, and 3 was made by a driver that died before it saved
    never(lambda: driver.left(trial) != [0, 1, 2, 3])
    driver.save()
    soon(lambda: driver.left(trial) == [2, 3])
    assert driver.files(trial, 2) == sorted(SESSION)


def test_what_descendants_start_from_stays_while_its_trial_goes_on(driver, begin):
    ledger = Ledger()
    kept, trial = begin(ledger), driver.trial("a")
    driver.report(trial)
    ledger.record(Completed("a", 0, trial.checkpoint.path))
    driver.report(trial)
    driver.report(trial)
    kept.follow(trial)
    kept.restored(trial)
    driver.save()
    soon(lambda: driver.left(trial) == [0, 2])
    never(lambda: driver.left(trial) != [0, 2])


def _refuse(*_):
    raise PermissionError("read-only")


def test_a_storage_that_removes_nothing_is_said_once_and_ends_nothing(driver, begin, monkeypatch, caplog):
    class Refusing:
        """A filesystem of pyarrow's, but for its removals."""

        delete_dir = delete_file = staticmethod(_refuse)

        def __getattr__(self, name):
            return getattr(driver.filesystem, name)

    kept, trial = begin(), driver.trial("a")
    driver.report(trial)
    held = trial.run_metadata.checkpoint_manager
    for _ in range(3):
        kept.follow(trial)
        driver.save(wait=True)
        driver.report(trial)
        for one in held.best_checkpoint_results:
            one.checkpoint.filesystem = Refusing()
    kept.end(trial)
    trial.status = Trial.TERMINATED
    driver.save(wait=True)
    soon(lambda: not threads())
    assert driver.left(trial) == [0, 1, 2, 3]
    assert listed(trial) == [3]
    said = [r.getMessage() for r in caplog.records]
    assert said == ["A checkpoint that is needed no more could not be removed, and is left: read-only"]


def test_what_another_thread_has_removed_stops_nobody(driver, begin, caplog):
    class Late:
        """A filesystem of pyarrow's, where somebody else is always faster with folders."""

        def delete_dir(self, path):
            raise FileNotFoundError(path)

        def __getattr__(self, name):
            return getattr(driver.filesystem, name)

    kept, trial = begin(), driver.trial("a")
    for _ in range(2):
        driver.report(trial)
    trial.checkpoint.filesystem = Late()
    kept.end(trial)
    trial.status = Trial.TERMINATED
    driver.save(wait=True)
    soon(lambda: not threads())
    assert driver.files(trial, 1) == ["session.pt", "trace.parquet"]
    assert not caplog.records


def test_threads_end_with_the_controller_and_with_the_process(tmp_path, driver, begin):
    kept, trial = begin(), driver.trial("a")
    for _ in range(2):
        driver.report(trial)
    kept.follow(trial)
    assert all(thread.daemon for thread in threads())
    assert threads()
    kept.finish()
    assert not threads()
    other = Driver(tmp_path / "other")
    another = begin(of=other)
    for _ in range(2):
        driver.report(trial)
    another.follow(trial)
    assert threads()
    del other
    soon(lambda: not threads())
    assert driver.left(trial) == [0, 1, 2, 3]


def test_where_no_snapshots_come_nothing_goes(tmp_path, begin):
    driver = Driver(tmp_path / "other", period=float("inf"))
    kept, trial = begin(of=driver), driver.trial("a")
    for _ in range(3):
        driver.report(trial)
        kept.follow(trial)
    kept.restored(trial)
    kept.end(trial)
    assert not threads()
    assert listed(trial) == [0, 1, 2] == driver.left(trial)


def test_a_checkpoint_without_its_second_file_is_none_to_go_on_from(driver):
    trial = driver.trial("a")
    driver.report(trial)
    assert resumable(trial.checkpoint)
    (driver.folder / "storage" / "a" / "checkpoint_000000" / SESSION[1]).unlink()
    assert not resumable(trial.checkpoint)
    driver.report(trial, ["model.bin"])
    assert resumable(trial.checkpoint)
    driver.report(trial, [])
    assert resumable(trial.checkpoint)
    (driver.folder / "storage" / "a" / "checkpoint_000002").rmdir()
    assert not resumable(trial.checkpoint)
    away = SimpleNamespace(filesystem=SimpleNamespace(get_file_info=_refuse), path="/there")
    assert resumable(away)  # nobody can tell


def test_a_word_for_no_kind_of_keeping_is_refused():
    text = r"`checkpoints` must be 'needed' or 'all'; got 3. Numbers .* tune.CheckpointConfig\(num_to_keep=...\)"
    with pytest.raises(ArgumentError, match=text):
        GlocalScheduler("val_loss", "min", checkpoints=3)
