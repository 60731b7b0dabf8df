"""Facts about Ray that the code relies on. A Ray that changes one fails here first, by name."""

import inspect
import json
import math
import pickle
import weakref

import numpy as np
import pyarrow.fs
import pytest
import ray.tune.result
from ray import tune
from ray.train._internal import syncer
from ray.train._internal.session import _TrainingResult
from ray.train._internal.storage import StorageContext
from ray.tune.execution.cluster_info import _is_ray_cluster
from ray.tune.execution.experiment_state import _ExperimentCheckpointManager
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.tune.experiment import Trial
from ray.tune.impl.tuner_internal import _TUNER_PKL
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher, SearchGenerator
from ray.tune.search.sample import Function
from ray.tune.search.variant_generator import assign_value, generate_variants

from ray_glocal.names import CHECKPOINT, EXPERIMENT_STATE, FAILURE, SEARCHER_STATE, TIMESTEPS, TRAINING_ITERATION
from ray_glocal.report import Progress
from ray_glocal.simulate._compat import Storage
from ray_glocal.tune import GlocalScheduler, GlocalSearch, _compat
from ray_glocal.tune._compat import Categorical, Domain, Float, Integer, LogUniform, Normal, Uniform
from ray_glocal.tune.retention import resumable


def test_domains_tell_their_kinds_bounds_and_samplers():
    assert isinstance(tune.uniform(0, 1), Float)
    assert isinstance(tune.uniform(0, 1).get_sampler(), Uniform)
    assert isinstance(tune.loguniform(1, 2).get_sampler(), LogUniform)
    assert (tune.loguniform(1, 2).lower, tune.loguniform(1, 2).upper) == (1, 2)
    normal = tune.randn(3, 4).get_sampler()
    assert isinstance(normal, Normal)
    assert (normal.mean, normal.sd) == (3, 4)
    assert tune.randn().lower == -math.inf
    assert isinstance(tune.randint(0, 5), Integer)
    assert tune.choice([1, 2]).categories == [1, 2]
    assert isinstance(tune.choice([1]), Categorical)
    assert isinstance(tune.sample_from(lambda: 1), Domain)
    assert not isinstance(tune.sample_from(lambda: 1), Float | Integer | Categorical)


def test_quantised_samplers_are_none_of_the_continuous_ones():
    for domain in (tune.quniform(0, 1, 0.1), tune.qloguniform(0.1, 1, 0.1), tune.qrandn(0, 1, 0.1)):
        assert isinstance(domain, Float)
        assert not isinstance(domain.get_sampler(), Uniform | LogUniform | Normal)


def test_domains_are_sampled_from_a_numpy_generator_reproducibly():
    for domain in (tune.randint(0, 1000), tune.quniform(0, 1, 0.01), tune.uniform(0, 1)):
        draws = [domain.sample(random_state=np.random.default_rng(5)) for _ in range(2)]
        assert draws[0] == draws[1]


def test_grid_search_is_a_dict_of_one_key():
    assert _compat.grid_values(tune.grid_search([1, 2])) == [1, 2]
    assert _compat.grid_values({"a": 1}) is None


def test_the_variant_generator_resolves_dependencies():
    config = {"a": 2, "b": tune.sample_from(lambda config: config["a"] + 1), "c": [tune.choice([7])]}
    assert _compat.resolved(config, np.random.default_rng(0)) == {"a": 2, "b": 3, "c": [7]}


class Stub:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def test_a_trial_tells_how_many_checkpoints_it_keeps_and_where_its_files_are():
    trial = Trial("stub", stub=True, checkpoint_config=tune.CheckpointConfig(num_to_keep=3))
    assert _compat.checkpoints_kept(trial) == 3
    assert _compat.last_checkpoint(trial) is None
    trial.storage = Stub(experiment_driver_staging_path="/staging")
    assert _compat.experiment_folder(trial) == "/staging"


def test_a_trial_tells_its_last_result_flat():
    trial = Trial("stub", stub=True)
    assert _compat.last_result(trial).keys() <= {"trial_id"}
    trial.update_last_result({"step": 3, "forecast": {"final_loss": 0.5}})
    told = _compat.last_result(trial)
    assert (told["step"], told["forecast/final_loss"]) == (3, 0.5)


def test_a_trial_tells_of_its_last_ten_results_those_that_will_not_come_again():
    trial = Trial("stub", stub=True)
    names = ["loss", "training_iteration", "rare", "word", "absent"]
    assert _compat.lasting_results(trial, names) == []
    for step in range(1, 4):
        more = {"word": "w", **({"rare": 0.0} if step > 1 else {})}
        trial.update_last_result({"training_iteration": step, "loss": 1 / step, **more})
    assert _compat.lasting_results(trial, names) == [], "it begins anew"
    first, second = ({"training_iteration": step, "loss": 1 / step} for step in (1, 2))
    manager = trial.run_metadata.checkpoint_manager
    for step, lasting in ((2, [first, second]), (3, [first, second, _compat.last_result(trial)])):
        held = tune.Checkpoint("/checkpoint", pyarrow.fs.LocalFileSystem())
        manager.register_checkpoint(_TrainingResult(held, {"training_iteration": step}))
        assert _compat.lasting_results(trial, names) == lasting
    assert lasting[-1]["word"] == "w"
    for step in range(4, 15):
        trial.update_last_result({"training_iteration": step, "loss": 1 / step})
    assert _compat.lasting_results(trial, names) == []
    trial.set_status("TERMINATED")
    assert [result["training_iteration"] for result in _compat.lasting_results(trial, names)] == list(range(5, 15))


def test_processes_know_the_filesystem_of_the_experiment_and_the_ancestor_of_the_trial_they_work_for(tmp_path):
    """Which they are on a worker, `test_ancestry.py` sees there."""
    assert _compat.ground_of_function() is None
    assert _compat.ground_of_trainable(object()) == _compat.Ground()
    storage = StorageContext(storage_path=str(tmp_path), experiment_dir_name="e", storage_filesystem=None)
    trials = [Trial("stub", stub=True, storage=storage) for _ in range(2)]
    _compat.hand_down(trials[0], "a", "/b")
    assert [trial.storage is storage for trial in trials] == [False, False], "each trial has a context of its own"
    sent = [pickle.loads(pickle.dumps(trial.storage)) for trial in trials]
    heir, fresh = (_compat.ground_of_trainable(Stub(_storage=context)) for context in sent)
    assert heir == _compat.Ground(sent[0].storage_filesystem, "a", "/b")
    assert fresh == _compat.Ground(sent[1].storage_filesystem)


def test_a_trial_tells_what_it_needs_on_one_node():
    assert _compat.bundles(None) == ({"CPU": 1.0},)
    assert _compat.bundles({"cpu": 2, "gpu": 0.25, "special": 1}) == ({"CPU": 2.0, "GPU": 0.25, "special": 1.0},)
    apart = [{"CPU": 1.0}, {"GPU": 1.0}]
    assert _compat.bundles(tune.PlacementGroupFactory(apart)) == tuple(apart)
    assert _compat.bundles(tune.PlacementGroupFactory(apart, strategy="STRICT_PACK")) == ({"CPU": 1.0, "GPU": 1.0},)
    trial = Stub(placement_group_factory=tune.PlacementGroupFactory(apart))
    assert _compat.trial_bundles(trial) == tuple(apart)
    assert "placement_group_factory" in Trial._nonjson_fields


def test_a_trial_tells_where_its_experiment_is_stored_unless_it_is_simulated(tmp_path):
    told = {"storage_path": str(tmp_path), "experiment_dir_name": "e", "storage_filesystem": None}
    trial = Trial("stub", stub=True, storage=StorageContext(**told))
    filesystem, folder = _compat.trial_storage(trial)
    assert (filesystem.type_name, folder) == ("local", str(tmp_path / "e"))
    trial.storage = Storage(**told)
    assert _compat.trial_storage(trial) is None


def test_clusters_that_may_grow_are_known_by_what_their_launchers_leave(monkeypatch):
    assert not _compat.may_grow()
    monkeypatch.setenv("KUBERAY_GEN_RAY_START_CMD", "ray start --head")
    assert _compat.may_grow()
    assert "ray_bootstrap_config.yaml" in inspect.getsource(_is_ray_cluster)


def test_files_of_an_experiment_have_the_names_that_we_look_for():
    assert TuneController.CKPT_FILE_TMPL.format("*") == _compat.SNAPSHOT
    assert _compat.TUNER == _TUNER_PKL


def test_filesystems_are_named_as_we_expect(tmp_path):
    assert tune.Checkpoint.from_directory(tmp_path).filesystem.type_name == "local"
    assert pyarrow.fs.S3FileSystem(anonymous=True, region="us-east-1").type_name == "s3"


def test_wrappers_call_what_they_wrap_searcher():
    search = GlocalSearch({"a": tune.choice([1]), "b": tune.uniform(0, 1)}, "x", "min")
    assert _compat.wrapped_searcher(SearchGenerator(ConcurrencyLimiter(search, 2))) is search
    assert not hasattr(BasicVariantGenerator(), "searcher")
    assert _compat.search_is_finished(Stub(search_alg=Stub(is_finished=lambda: True)))
    assert not _compat.search_is_finished(Stub())
    planned = Stub(is_finished=lambda: False, total_samples=2)
    assert not _compat.search_is_finished(Stub(search_alg=planned, get_trials=lambda: ["a"]))
    assert _compat.search_is_finished(Stub(search_alg=planned, get_trials=lambda: ["a", "b"]))
    assert isinstance(SearchGenerator.total_samples, property)
    assert isinstance(BasicVariantGenerator.total_samples, property)


def test_a_trials_latest_checkpoint_is_told_without_the_trial(tmp_path):
    trial = Trial("stub", stub=True)
    latest = _compat.latest_of(trial)
    assert latest() is None
    for iteration in (1, 2):
        checkpoint = tune.Checkpoint.from_directory(tmp_path / str(iteration))
        trial.run_metadata.checkpoint_manager.register_checkpoint(_TrainingResult(checkpoint, {}))
        assert latest() is checkpoint is trial.checkpoint
    alone = weakref.ref(trial)
    del trial
    assert alone() is None
    assert latest() is checkpoint


def test_a_checkpoint_that_is_gone_is_left_for_the_newest_that_is_there(tmp_path):
    trial = Trial("stub", stub=True)
    manager = trial.run_metadata.checkpoint_manager
    assert _compat.leave_lost_checkpoint(trial, resumable) is None
    for iteration in (1, 2, 3):
        folder = tmp_path / str(iteration)
        folder.mkdir()
        checkpoint = tune.Checkpoint.from_directory(folder)
        manager.register_checkpoint(_TrainingResult(checkpoint, {"training_iteration": iteration}))
    assert _compat.leave_lost_checkpoint(trial, resumable) is None
    (tmp_path / "3").rmdir()
    assert _compat.leave_lost_checkpoint(trial, resumable) == str(tmp_path / "3")
    assert trial.checkpoint.path == str(tmp_path / "2")
    for iteration in (1, 2):
        (tmp_path / str(iteration)).rmdir()
    assert _compat.leave_lost_checkpoint(trial, resumable) == str(tmp_path / "2")
    assert trial.checkpoint is None


def test_snapshots_are_saved_and_copied_as_we_expect():
    """`_compat.Driver` reads Tune's records of both, which have no public names."""
    saves = inspect.getsource(_ExperimentCheckpointManager.sync_up_experiment_state)
    order = [saves.index(part) for part in ("save_fn()", ".sync_up(", "_last_sync_time = ", "_last_save_time = ")]
    assert order == sorted(order)
    manager = _ExperimentCheckpointManager(storage=None, checkpoint_period="inf")
    assert manager._checkpoint_period == math.inf
    assert (manager._last_save_time, manager._last_sync_time) == (-math.inf, None)
    begins = inspect.getsource(syncer._BackgroundSyncer.retry)
    assert begins.index("_sync_process = _BackgroundProcess(") < begins.index(".start(")
    copy = syncer._BackgroundProcess(lambda: None)
    assert not copy.is_running
    assert copy.start_time == float("-inf")
    copy.start()
    copy._process.join()
    assert "exception" not in copy._result
    assert not copy.is_running
    failing = syncer._BackgroundProcess(lambda: {}["the storage"])
    failing.start()
    failing._process.join()
    with pytest.raises(KeyError):
        failing.wait()
    assert "exception" in failing._result
    assert "self._tune_controller = tune_controller" in inspect.getsource(TrialRunnerWrapper.__init__)
    assert isinstance(TuneController.experiment_state_path, property)
    assert isinstance(TuneController.experiment_path, property)
    assert isinstance(TuneController.experiment_state_file_name, property)
    assert {"_storage", "_checkpoint_manager"} <= set(inspect.getsource(TuneController.__getstate__).split('"'))


def test_a_trial_forgets_all_checkpoints_but_the_latest(tmp_path):
    trial = Trial("stub", stub=True)
    manager = trial.run_metadata.checkpoint_manager
    for iteration in (1, 2, 3):
        checkpoint = tune.Checkpoint(str(tmp_path / str(iteration)), pyarrow.fs.LocalFileSystem())
        manager.register_checkpoint(_TrainingResult(checkpoint, {"training_iteration": iteration}))
    before = trial.run_metadata.get_json_state()
    assert [gone.path for gone in _compat.drop_superseded(trial)] == [str(tmp_path / "1"), str(tmp_path / "2")]
    assert [held.checkpoint.path for held in manager.best_checkpoint_results] == [str(tmp_path / "3")]
    assert _compat.last_checkpoint(trial).path == str(tmp_path / "3")
    assert trial.run_metadata.get_json_state() != before  # what snapshots hold
    assert _compat.drop_superseded(trial) == []
    assert not _compat.checkpoints_scored(trial)
    scored = tune.CheckpointConfig(checkpoint_score_attribute="loss")
    assert _compat.checkpoints_scored(Trial("stub", stub=True, checkpoint_config=scored))


def test_hooks_have_the_signatures_that_we_override():
    hooks = (
        "on_trial_add",
        "on_trial_error",
        "on_trial_result",
        "on_trial_complete",
        "on_trial_remove",
        "debug_string",
    )
    for ours, theirs, names in (
        (GlocalScheduler, TrialScheduler, (*hooks, "save", "restore")),
        (GlocalSearch, Searcher, ("suggest", "on_trial_result", "on_trial_complete", "save", "restore")),
    ):
        for name in names:
            expected = inspect.signature(getattr(theirs, name)).parameters
            assert list(inspect.signature(getattr(ours, name)).parameters) == list(expected), name


def test_answers_are_class_constants_and_results_are_not_buffered():
    assert TrialScheduler.STOP is FIFOScheduler.STOP
    assert not GlocalScheduler("x", "min").supports_buffered_results
    assert "if not scheduler.supports_buffered_results:" in inspect.getsource(tune.run)
    assert issubclass(GlocalScheduler, FIFOScheduler)


def test_the_public_specification_holds_samples_and_stopping_criteria():
    from ray.tune.experiment import Experiment

    assert {"stop", "num_samples"} <= Experiment.PUBLIC_KEYS


def test_keys_of_results():
    assert (_compat.TRAINING_ITERATION, _compat.SHOULD_CHECKPOINT) == ("training_iteration", "should_checkpoint")


def test_functions_in_a_space_are_called_with_the_configuration():
    function = tune.sample_from(lambda config: config["a"] + 1)
    assert isinstance(function, Function)
    assert function.sample(config={"a": 1}, random_state=np.random.default_rng(0)) == 2
    nested = {"a": {"b": 0}}
    assign_value(nested, ("a", "b"), 5)
    assert nested == {"a": {"b": 5}}


def test_variants_come_as_resolved_and_whole():
    resolved, spec = next(generate_variants({"config": {"a": tune.choice([3])}}, random_state=np.random.default_rng(0)))
    assert resolved == {("config", "a"): 3}
    assert spec == {"config": {"a": 3}}


def test_states_of_trials_and_their_addresses():
    assert (Trial.PENDING, Trial.RUNNING, Trial.TERMINATED, Trial.ERROR) == (
        "PENDING",
        "RUNNING",
        "TERMINATED",
        "ERROR",
    )
    assert isinstance(Trial.checkpoint, property)
    assert isinstance(Trial.local_experiment_path, property)


def test_the_controller_and_what_hooks_get_of_it_show_the_searcher():
    assert isinstance(TuneController.search_alg, property)
    assert '"search_alg"' in inspect.getsource(TuneController._wrapped)  # the white list of the hooks' wrapper
    assert callable(SearchGenerator.is_finished)


def test_a_restored_experiment_has_added_all_its_trials_before_the_first_is_chosen():
    assert "self._requeue_restored_trials(" in inspect.getsource(TuneController.resume)
    assert "self.add_trial(" in inspect.getsource(TuneController._requeue_restored_trials)
    assert "choose_trial_to_run(self._wrapped())" in inspect.getsource(TuneController._maybe_add_actors)
    assert '"get_trials"' in inspect.getsource(TuneController._wrapped)


def test_the_controller_keeps_those_that_wait_apart_and_the_hooks_get_it_in_a_wrapper():
    controller = Stub(_pending_trials={"a"}, _paused_trials={"b"})
    wrapped = TrialRunnerWrapper(controller, trial_executor=None)
    assert _compat.waiting(wrapped) == _compat.waiting(controller) == {"a"}
    assert _compat.waiting(Stub(_pending_trials=set(), _paused_trials={"b"})) == {"b"}
    assert _compat.waiting(Stub(get_trials=list)) is None
    source = inspect.getsource(TuneController._set_trial_status)
    assert "Trial.PENDING: self._pending_trials," in source
    assert "Trial.PAUSED: self._paused_trials," in source
    assert "self._trials.append(trial)" in inspect.getsource(TuneController._requeue_trial)  # to the end of the list


def test_tune_tells_scheduler_and_searcher_what_it_was_told():
    for ours, theirs in ((GlocalScheduler, TrialScheduler), (GlocalSearch, Searcher)):
        expected = inspect.signature(theirs.set_search_properties).parameters
        assert list(inspect.signature(ours.set_search_properties).parameters) == list(expected)
    assert list(inspect.signature(Searcher.set_max_concurrency).parameters) == ["self", "max_concurrent"]


def test_searchers_keep_metric_and_mode_where_we_put_them():
    search = Searcher(metric="a", mode="min")
    assert (search._metric, search._mode) == (search.metric, search.mode) == ("a", "min")


def test_a_class_trainable_knows_whether_it_is_an_actor():
    assert list(inspect.signature(tune.Trainable.is_actor).parameters) == ["self"]


def test_what_the_driver_saves_of_a_trial_tells_its_id_its_end_and_its_folder():
    trial = Trial("stub", stub=True)
    state = json.loads(trial.get_json_state()[0])
    assert (state["trial_id"], state["status"], state["relative_logdir"]) == (trial.trial_id, "PENDING", None)
    assert '"trial_data"' in inspect.getsource(TuneController.save_to_dir)


def test_files_that_the_report_reads_are_named_as_it_expects():
    from ray.tune.result import EXPR_PARAM_FILE, EXPR_PROGRESS_FILE, EXPR_RESULT_FILE

    assert (EXPR_PARAM_FILE, EXPR_RESULT_FILE, EXPR_PROGRESS_FILE) == ("params.json", "result.json", "progress.csv")
    assert Searcher.CKPT_FILE_TMPL.format("*") == SEARCHER_STATE + "*.pkl"
    assert TuneController.CKPT_FILE_TMPL.format("*") == EXPERIMENT_STATE + "*.json"
    assert f'"{CHECKPOINT}{{' in inspect.getsource(StorageContext)
    assert f'"{FAILURE}{{}} ' in inspect.getsource(Trial)


def test_keys_of_results_are_tunes():
    assert ray.tune.result.TRAINING_ITERATION == TRAINING_ITERATION
    assert ray.tune.result.TIMESTEPS_TOTAL == TIMESTEPS


def test_results_tell_where_they_lie():
    assert next(iter(inspect.signature(tune.ResultGrid).parameters)) == "experiment_analysis"
    assert isinstance(tune.ResultGrid.filesystem, property)
    assert isinstance(tune.ResultGrid.experiment_path, property)
    assert isinstance(tune.ExperimentAnalysis.experiment_path, property)


def test_callbacks_have_the_hooks_that_we_override():
    for name in ("on_trial_start", "on_trial_result", "on_trial_complete", "on_trial_recover", "on_trial_error"):
        expected = inspect.signature(getattr(tune.Callback, name)).parameters
        assert list(inspect.signature(getattr(Progress, name)).parameters) == list(expected), name
    for name in ("setup", "on_step_end", "on_experiment_end"):
        expected = inspect.signature(getattr(tune.Callback, name)).parameters
        assert list(inspect.signature(getattr(Progress, name)).parameters) == list(expected), name
