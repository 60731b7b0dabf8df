"""What the simulator takes for granted of Ray, pinned: a Ray that changes it fails here first, by name."""

import inspect

import pytest
from ray import actor, remote_function, tune
from ray.air.execution._internal import RayActorManager
from ray.train._internal import session
from ray.train._internal.session import _FutureTrainingResult, _TrainingResult, _TrainSession
from ray.train._internal.storage import StorageContext
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment
from ray.tune.trainable import FunctionTrainable, wrap_function

from ray_glocal.simulate._compat import FUNCTION_ENDED, Session, Storage, configuration, driver_alone
from ray_glocal.simulate.actors import VirtualActors


def test_the_virtual_manager_answers_whatever_the_controller_asks():
    source = inspect.getsource(TuneController)
    asked = {part.split("(")[0].split(".")[0].split("[")[0] for part in source.split("self._actor_manager.")[1:]}
    asked = {name.split()[0].rstrip(":)") for name in asked}
    known = set(dir(VirtualActors)) | {"_live_actors_to_ray_actors_resources"}
    assert asked - known <= {"_actor_task_events"}, "only the export of models is left out"


@pytest.mark.parametrize("name", ["add_actor", "remove_actor", "schedule_actor_task", "next", "is_actor_started"])
def test_it_takes_the_same_arguments(name):
    theirs = inspect.signature(getattr(RayActorManager, name)).parameters
    assert set(inspect.signature(getattr(VirtualActors, name)).parameters) == set(theirs)


def test_names_that_are_replaced_exist():
    source = inspect.getsource(TuneController.__init__)
    for name in ("_actor_manager", "_class_cache", "_resource_updater"):
        assert f"self.{name} = " in source
    for name in ("_staged_trials", "_resources_to_pending_trials"):
        assert f"self.{name}: " in source
    assert Experiment._storage_context_cls is StorageContext
    assert callable(StorageContext._get_session_path)
    assert "saving_to = _FutureTrainingResult(future)" in inspect.getsource(TuneController._schedule_trial_save)
    assert list(inspect.signature(_FutureTrainingResult.resolve).parameters) == ["self", "block"]


def test_the_thread_that_copies_the_experiments_state_can_be_waited_for():
    assert "self._storage = storage" in inspect.getsource(TuneController.__init__)
    assert "self._storage.syncer.wait()" in inspect.getsource(_ExperimentCheckpointManager.sync_up_experiment_state)


def test_a_trial_is_restored_from_a_result_that_holds_the_metrics_of_its_checkpoint():
    assert "restoring_from = checkpoint_result" in inspect.getsource(TuneController._schedule_trial_restore)
    assert "args = (checkpoint_result,)" in inspect.getsource(TuneController._schedule_trial_restore)
    assert _TrainingResult(None, {"time_total_s": 1.0}).metrics == {"time_total_s": 1.0}


def test_sessions_of_functions_take_turns_in_the_one_global_of_the_process():
    assert session._session is None
    first, second = Session(), Session()
    with first.in_place():
        session._session = "first"
        with second.in_place():
            assert session.get_session() is None
            session._session = "second"
        assert session.get_session() == "first"
    assert session._session is None
    with second.in_place():
        assert session.get_session() == "second"


def test_between_a_report_and_its_halt_a_functions_thread_looks_at_no_global():
    source = inspect.getsource(_TrainSession._report_training_result)
    put, halt, leave = (source.index(part) for part in ("result_queue.put", "continue_lock.acquire", "sys.exit(0)"))
    assert put < halt < leave
    for method in (_TrainSession.report, _TrainSession._report_training_result, _TrainSession.finish):
        source = inspect.getsource(method)
        assert "get_session" not in source
        assert "_session." not in source


def test_a_function_goes_on_only_while_its_next_result_is_waited_for():
    assert "synchronous_result_reporting=True" in inspect.getsource(FunctionTrainable.setup)
    assert "session.get_next()" in inspect.getsource(FunctionTrainable.step)
    assert "while result is None and self.training_thread.is_alive()" in inspect.getsource(_TrainSession.get_next)


def test_reports_of_a_function_go_to_the_session_of_the_process():
    for reports in (tune.report, wrap_function):
        assert "get_session().report(" in inspect.getsource(reports)
    assert "get_session().loaded_checkpoint" in inspect.getsource(tune.get_checkpoint)


@pytest.fixture
def function(tmp_path):
    """One that has reported once, halts, and reports again when it is ended; and its session."""
    left = []

    def train(config):
        try:
            tune.report({"loss": 1.0})
            tune.report({"loss": 2.0})
        except SystemExit:
            left.append(True)
            tune.report({"loss": 3.0})

    own, storage = Session(), Storage(tmp_path, "experiment", trial_dir_name="trial")
    with driver_alone(None), own.in_place():
        trainable = wrap_function(train)(config={}, storage=storage)
        assert trainable.train()["loss"] == 1.0
        thread = session.get_session().training_thread
    assert thread.is_alive()
    yield own, trainable, thread, left
    with own.in_place():
        trainable.stop()


def test_a_function_that_is_ended_leaves_no_thread_and_its_actor_can_be_reused(function):
    own, trainable, thread, left = function
    own.end()
    assert not thread.is_alive()
    assert left == [True]
    own.end()  # again is nothing
    with own.in_place():
        assert trainable.reset({}, storage=trainable._storage)
        assert trainable.train()["loss"] == 1.0, "the session's own way to report is back"
    own.end()


def test_a_function_that_returns_answers_with_a_mark_alone(tmp_path):
    own, storage = Session(), Storage(tmp_path, "experiment", trial_dir_name="trial")
    with driver_alone(None), own.in_place():
        trainable = wrap_function(lambda config: None)(config={}, storage=storage)
        ended = trainable.train()
    assert FUNCTION_ENDED in ended
    assert "training_iteration" not in ended
    own.end()
    with own.in_place():
        trainable.stop()
        assert session.get_session() is None
    own.end()


def test_a_session_leaves_the_processs_remote_calls_alone(function):
    assert actor._actor_launch_hook is None
    assert remote_function._task_launch_hook is None
    source = inspect.getsource(session.init_session)
    assert "actor._actor_launch_hook = _tune_task" in source
    assert "remote_function._task_launch_hook = _tune_task" in source


def test_what_tune_slips_into_a_configuration_is_known():
    told = {"lr": 0.1, "net": {"width": 3}, "__trial_info__": 1, "__stdout_file__": 2, "__stderr_file__": 3}
    assert configuration(told) == {"lr": 0.1, "net": {"width": 3}}
    assert configuration(told)["net"] is not told["net"]
    source = inspect.getsource(tune.Trainable.__init__)
    assert source.count("self.config.pop(") == 3
