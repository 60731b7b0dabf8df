"""What the simulator takes for granted of Ray, pinned: a Ray that changes it fails here first, by name."""

import inspect

import pytest
from ray.air.execution._internal import RayActorManager
from ray.train._internal.session import _FutureTrainingResult, _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment

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


def test_a_trial_is_restored_from_a_result_that_holds_the_metrics_of_its_checkpoint():
    assert "restoring_from = checkpoint_result" in inspect.getsource(TuneController._schedule_trial_restore)
    assert "args = (checkpoint_result,)" in inspect.getsource(TuneController._schedule_trial_restore)
    assert _TrainingResult(None, {"time_total_s": 1.0}).metrics == {"time_total_s": 1.0}
