"""The class trainable, stepped as Tune steps it, without Ray processes."""

from types import SimpleNamespace

import pytest
import torch
import trainables
from ray import tune

from ray_glocal.simulate._compat import Storage
from ray_glocal.tune import GlocalTrainable
from ray_glocal.tune._compat import hand_down

pytestmark = pytest.mark.filterwarnings("ignore:.*ray.*:ResourceWarning")
CONFIG = {"optimizer": "sgd", "width": 2, "lr": 0.05, "steps": 4}
CLOCKS = {"time_this_iter_s", "time_total_s", "timestamp", "date", "time_since_restore", "iterations_since_restore"}


@pytest.fixture
def begin(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    return lambda storage=None, **changes: trainables.Small(config={**CONFIG, **changes}, storage=storage)


def rest(trainable):
    """Results to the end, without clocks."""
    results = []
    while not results or not results[-1]["done"]:
        results.append(trainable.train())
    return [{k: v for k, v in r.items() if k not in CLOCKS and not k.startswith("cost/")} for r in results]


def same(left, right):
    assert [r["step"] for r in left] == [r["step"] for r in right]
    for ours, theirs in zip(left, right, strict=True):
        assert {k: repr(v) for k, v in ours.items()} == {k: repr(v) for k, v in theirs.items()}


def weights(trainable):
    return trainable.session.problem.model.state_dict()


def test_one_step_trains_to_the_next_report_and_the_last_is_done(begin):
    results = rest(begin())
    assert [r["step"] for r in results] == [8, 16, 24, 32]
    assert [r["done"] for r in results] == [False, False, False, True]
    assert all(r["should_checkpoint"] for r in results)
    assert {"val_loss", "forecast/final_loss", "hyper/lr", "potential"} <= set(results[0])


def test_a_restored_trial_goes_on_as_if_nothing_had_happened(begin, tmp_path):
    undisturbed = rest(begin())
    first = begin()
    first.train()
    first.train()
    first.save_checkpoint(str(tmp_path))
    second = begin()
    second.load_checkpoint(str(tmp_path))
    keep = [{k: v for k, v in r.items() if k != "training_iteration"} for r in (*undisturbed[2:], *rest(second))]
    same(keep[:2], keep[2:])


def test_a_reused_actor_becomes_another_trial_entirely(begin):
    reused = begin(lr=0.9, width=4)
    reused.train()
    assert reused.reset_config({**CONFIG})
    fresh = begin()
    ignored = {"training_iteration", "config"}
    left, right = ([{k: v for k, v in r.items() if k not in ignored} for r in rest(t)] for t in (reused, fresh))
    same(left, right)


def test_a_checkpoint_before_the_first_step_can_be_loaded(begin, tmp_path):
    begin().save_checkpoint(str(tmp_path))
    second = begin()
    second.load_checkpoint(str(tmp_path))
    assert second.train()["step"] == 8


@pytest.mark.parametrize("changed", [False, True])
def test_what_was_adapted_is_kept_unless_the_configuration_has_changed_since(begin, tmp_path, changed):
    first = begin()
    rest(first)
    adapted = float(first.session.values["lr"])
    assert adapted != CONFIG["lr"]
    first.save_checkpoint(str(tmp_path))
    second = begin(**({"lr": 0.07} if changed else {}))
    second.load_checkpoint(str(tmp_path))
    right = pytest.approx(0.07 if changed else adapted)
    assert float(second.session.values["lr"]) == right
    assert [group["lr"] for group in second.session.problem.optimizer.param_groups] == [right]


def test_a_fresh_trial_starts_from_its_ancestors_weights_where_they_fit(begin, tmp_path):
    ancestor = begin()
    rest(ancestor)
    ancestor.save_checkpoint(str(tmp_path))
    trial = SimpleNamespace(storage=Storage(str(tmp_path), "experiment", trial_dir_name="heir"))
    hand_down(trial, "x", str(tmp_path))
    heir, stranger = begin(trial.storage), begin(trial.storage, width=4)
    fresh = weights(begin(width=4))
    for trial in (heir, stranger):
        trial._begin()
    assert all(torch.equal(a, b) for a, b in zip(weights(heir).values(), weights(ancestor).values(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(stranger).values(), fresh.values(), strict=True))
    first = heir.train()
    assert (first["lineage/own"], first["lineage/steps"]) == (8, 8 + 32)
    assert stranger.train()["lineage/steps"] == 8
    assert (first["step"], first["training_iteration"]) == (8, 1)
    assert 8 <= first["cost/steps"] < ancestor.session.metrics()["cost/steps"], "it counts its own steps and cost"


def test_it_is_a_tune_trainable_that_asks_for_build_only():
    assert issubclass(GlocalTrainable, tune.Trainable)
    assert GlocalTrainable.build.__isabstractmethod__
