"""How function trainables end: by themselves, by an error, stopped, or with all that they run on."""

import sys
import threading
from pathlib import Path

import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from ray_glocal.errors import ArgumentError
from ray_glocal.simulate import Cluster, Outage, _compat, following, simulate

from .cases import LENGTH, falling
from .functions import SCHEDULERS, SPACE, TRIALS, forever, iterations, plain, report, resumed, run

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


def raising(config):
    begin = resumed() + 1
    for at in range(begin, 6):
        if at == 4 and begin != 4:
            raise ZeroDivisionError("the user's own")
        report(at, falling(config, at))


@pytest.mark.parametrize("reuse", [False, True])
def test_what_it_raises_is_its_trials_error(reuse, tmp_path):
    told = run(raising, num_samples=3, reuse_actors=reuse, folder=tmp_path)
    assert told.statuses == ("ERROR",) * 3
    assert {result.iteration for result in told.results} == {1, 2, 3}
    written = [file.read_text() for file in (tmp_path / "simulation").rglob("error.txt")]
    assert len(written) == 3
    assert all("ZeroDivisionError: the user's own" in text for text in written)


def test_after_an_error_it_may_be_tried_again():
    told = run(raising, num_samples=3, max_failures=1)
    assert told.statuses == ("TERMINATED",) * 3
    assert [iterations(told, trial) for trial in range(3)] == [[1, 2, 3, 4, 5]] * 3


def leaving(config):
    begin = resumed() + 1
    for at in range(begin, 6):
        if at == 4 and begin != 4:
            sys.exit(config["code"])
        report(at, falling(config, at))


class Leaving(tune.Trainable):
    def setup(self, config):
        sys.exit(config["code"])


@pytest.mark.parametrize("code", [0, 3])
def test_one_that_exits_takes_its_process_with_it_and_not_the_experiment(code):
    space = {**SPACE, "code": code}
    assert run(leaving, space=space, num_samples=2).statuses == ("ERROR",) * 2
    told = run(leaving, space=space, num_samples=2, max_failures=1)
    assert told.statuses == ("TERMINATED",) * 2
    assert [iterations(told, trial) for trial in range(2)] == [[1, 2, 3, 4, 5]] * 2
    assert run(Leaving, space=space, num_samples=2).statuses == ("ERROR",) * 2


@pytest.mark.parametrize("reuse", [False, True])
def test_one_without_an_end_is_stopped(reuse):
    told = run(forever, stop={"training_iteration": 7}, reuse_actors=reuse)
    assert len(told.results) == TRIALS * 7
    assert told.statuses == ("TERMINATED",) * TRIALS


def test_a_budget_ends_it():
    assert run(forever, budget=10.0).seconds == 10.0


class Breaking(FIFOScheduler):
    def on_trial_result(self, tune_controller, trial, result):
        if result["training_iteration"] == 3:
            raise RuntimeError("a scheduler's own")
        return self.CONTINUE


def test_an_experiment_that_breaks_ends_it():
    with pytest.raises(Exception, match="a scheduler's own"):
        simulate(forever, SPACE, metric="loss", mode="min", num_samples=3, scheduler=Breaking())


def test_a_cluster_that_is_lost_for_good_ends_it():
    with pytest.raises(ArgumentError, match=f"keep a worker for the {TRIALS} trials that wait"):
        run(forever, cluster=Cluster(2, workers_per_node=2, outages=(Outage(5.0, 0),)), max_failures=-1)


def noting(config):
    try:
        plain(config)
    finally:
        Path(config["folder"], f"{tune.get_context().get_trial_id()}").touch()
        tune.report({"loss": -1.0})  # nobody listens any more, unless it came to its end by itself


@pytest.mark.parametrize("reuse", [False, True])
def test_what_is_stopped_may_close_its_files_and_cannot_report_any_more(reuse, tmp_path):
    space = {**SPACE, "folder": str(tmp_path)}
    told = run(noting, space=space, stop={"training_iteration": 5}, reuse_actors=reuse)
    assert len(told.results) == TRIALS * 5
    assert all(result.value >= 0 for result in told.results)
    assert len(list(tmp_path.iterdir())) == TRIALS


def spoiling(config):
    try:
        plain(config)
    finally:
        raise ZeroDivisionError("while it was stopped")


class Spoiling(following(falling, LENGTH)):
    def cleanup(self):
        raise ZeroDivisionError("while it was stopped")


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("trainable", [spoiling, Spoiling])
def test_what_it_raises_when_it_is_stopped_changes_nothing(trainable, reuse):
    told = run(trainable, stop={"training_iteration": 5}, reuse_actors=reuse)
    assert told.statuses == ("TERMINATED",) * TRIALS


RELEASED = threading.Event()


def clinging(config):
    try:
        plain(config)
    except BaseException:  # noqa: BLE001  # what a user's function should not do
        RELEASED.wait()


@pytest.mark.parametrize("reuse", [False, True])
def test_one_that_will_not_end_is_said(reuse, monkeypatch):
    monkeypatch.setattr(_compat, "PATIENCE", 0.01)
    RELEASED.clear()
    before = threading.enumerate()
    with pytest.raises(Exception, match=r"`trainable` must end within 0\.01 seconds when `tune\.report` raises"):
        run(clinging, stop={"training_iteration": 5}, reuse_actors=reuse)
    RELEASED.set()
    for thread in set(threading.enumerate()) - set(before):
        thread.join()


def silent(config):
    return None


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_that_reports_nothing_ends(scheduler):
    told = run(silent, scheduler)
    assert told.results == ()
    assert told.statuses == ("TERMINATED",) * TRIALS
    assert len(told.configs) == TRIALS
