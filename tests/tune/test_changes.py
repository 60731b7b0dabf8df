"""A space that changed since the experiment that is resumed: what still means the same is matched, the rest is said."""

import itertools
import random

import pytest
import trainables
from ray import tune
from ray.tune.error import TuneError

from ray_glocal.errors import ArgumentError
from ray_glocal.tune import GlocalScheduler, GlocalSearch
from ray_glocal.tune.changes import changes, matched
from ray_glocal.tune.space import split


class Marker:
    pass


SPACE = {
    "width": tune.choice([1, 8, 64]),
    "kind": tune.choice(["a", None, True, 2.5]),
    "net": {"depth": tune.choice([2, 3]), "cells": tune.choice([{"size": 1}, {"size": 2}])},
    "units": tune.randint(1, 1000),
    "marker": tune.choice([Marker, Marker]),
    "lr": tune.loguniform(1e-4, 1.0),
    "noise": tune.randn(0.0, 1.0),
    "steps": 9,
}


def searched(space, trials=14, best=64):
    """A search that has seen so many trials, of which wide ones ended best."""
    search = GlocalSearch(space, "loss", "min", seed=0)
    for trial in range(trials):
        tell(search, str(trial), best)
    return search


def tell(search, trial, best=64):
    config = search.suggest(trial)
    search.on_trial_complete(trial, {"loss": abs(config["width"] - best) + 1.0, "training_iteration": 1})
    return config


def resumed(search, space, tmp_path):
    search.save(str(tmp_path / "saved"))
    other = GlocalSearch(space, "loss", "min", seed=0)
    other.restore(str(tmp_path / "saved"))
    return other


# ---- between two spaces ----


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": tune.choice([1])}, "'depth' is new"),
        ({"width": 8}, "'width' is gone"),
        ({"width": tune.uniform(1, 64)}, "'width' was searched and is adapted"),
        ({"lr": tune.choice([0.1])}, "'lr' was adapted and is searched"),
        ({"width": tune.choice([8, 64, 128])}, "'width' lost 1 and gained 128"),
        ({"width": tune.choice([1, 8, 64, 64])}, "'width' lost nothing and gained 64"),
        ({"kind": tune.choice(["a", None, 1, 2.5])}, "'kind' lost True and gained 1"),
        ({"net": {**SPACE["net"], "depth": tune.choice([2])}}, "'net/depth' lost 3 and gained nothing"),
        ({"units": tune.randint(1, 500)}, "'units' is drawn from another range"),
        ({"lr": tune.loguniform(1e-3, 1.0)}, "'lr' was 0.0001 to 1 in logarithms and is 0.001 to 1 in logarithms"),
        ({"lr": tune.uniform(1e-4, 1.0)}, "'lr' was 0.0001 to 1 in logarithms and is 0.0001 to 1"),
        ({"noise": tune.randn(0.0, 2.0)}, "'noise' was normal around 0 by 1 and is normal around 0 by 2"),
    ],
)
def test_each_change_has_its_sentence(change, sentence):
    before, after = split(SPACE), split({**SPACE, **change})
    assert changes(before, after) == [sentence]
    assert len(changes(after, before)) == 1
    assert changes(before, before) == changes(after, split({**SPACE, **change})) == []


@pytest.mark.parametrize(
    "change",
    [{"width": tune.choice([64, 1, 8])}, {"marker": tune.choice([Marker, object])}, {"steps": 10}],
)
def test_order_objects_and_constants_make_no_other_space(change):
    assert changes(split(SPACE), split({**SPACE, **change})) == []


@pytest.mark.parametrize("change", [{"width": tune.choice([8, 64])}, {"lr": tune.loguniform(1e-3, 1.0)}])
def test_what_tune_was_given_must_be_what_the_search_was_given(change):
    search = GlocalSearch(SPACE, "loss", "min")
    assert search.set_search_properties("loss", "min", SPACE)
    with pytest.raises(ArgumentError, match=r"`config` must hold the searcher's space.*(lost 1|was 0.0001 to 1)"):
        search.set_search_properties("loss", "min", {**SPACE, **change})


# ---- between recorded trials and a space ----


def values(ledger, parts):
    """What the levels of each proposal stand for."""
    added = [record.added for record in ledger.trials.values()]
    return [[entry.levels[i] for entry, i in zip(parts.discrete, event.levels, strict=True)] for event in added]


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_reordered_choices_are_matched_by_what_was_recorded(order, tmp_path):
    other = {**SPACE, "width": tune.choice([[1, 8, 64][i] for i in order]), "kind": tune.choice([2.5, True, "a", None])}
    search = searched(SPACE)
    again = matched(search.ledger, split(other))
    assert values(again, split(other)) == values(search.ledger, split(SPACE))
    assert matched(again, split(SPACE)).events == search.ledger.events
    assert [e.config for e in (r.added for r in again.trials.values())] == [
        r.added.config for r in search.ledger.trials.values()
    ]


def test_a_search_goes_on_with_reordered_choices_as_it_would_have(tmp_path):
    space = {"width": tune.choice([1, 8, 64]), "lr": tune.loguniform(1e-4, 1.0)}
    again = resumed(searched(space), {**space, "width": tune.choice([64, 8, 1])}, tmp_path)
    later = [tell(again, str(trial))["width"] for trial in range(14, 24)]
    assert later.count(64) >= 7


def test_choices_that_are_gone_are_said_and_nothing_is_learned_from_their_trials(tmp_path, caplog):
    space = {"width": tune.choice([1, 8, 64]), "lr": tune.loguniform(1e-4, 1.0)}
    search = searched(space)
    with_best = sum(r.added.config["width"] == 64 for r in search.ledger.trials.values())
    again = resumed(search, {**space, "width": tune.choice([1, 8, 16])}, tmp_path)
    assert f"does not hold width = 64 any more: nothing is learned from the {with_best} recorded trials" in caplog.text
    later = [tell(again, str(trial), best=16)["width"] for trial in range(14, 24)]
    assert set(later) <= {1, 8, 16}
    assert 16 in later
    assert len(again.ledger.trials) == 24


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"width": tune.choice([1, 8, 64]), "depth": tune.choice([1, 2])}, "'depth' is new"),
        ({"wide": tune.choice([1, 8, 64])}, "'wide' is new; 'width' is gone"),
        ({"width": tune.choice([1, 8, 64]), "momentum": tune.uniform(0, 1)}, "'momentum' is new"),
        ({"width": tune.choice([1, 8, 64]), "lr": tune.choice([0.1, 0.2])}, "'lr' was adapted and is searched"),
    ],
)
def test_other_hyperparameters_are_refused_before_anything_is_proposed(change, told, tmp_path):
    space = {"width": tune.choice([1, 8, 64]), "lr": tune.loguniform(1e-4, 1.0)}
    other = {"lr": space["lr"], "rate": tune.uniform(0, 1)} if "lr" in change else {"lr": space["lr"]}
    again = resumed(searched(space), {**other, **change}, tmp_path)
    with pytest.raises(ArgumentError, match=f"`space` must hold the hyperparameters of the experiment.*{told}"):
        again.suggest("next")
    with pytest.raises(ArgumentError, match=told):
        again.check_resumed()


def test_constants_that_only_tune_was_given_are_no_other_space(tmp_path):
    """`Tuner.restore` makes the searcher anew, and does not tell it of them."""
    space = {"width": tune.choice([1, 8, 64]), "lr": tune.loguniform(1e-4, 1.0)}
    search = GlocalSearch(space, "loss", "min", seed=0)
    search.set_search_properties(None, None, {**space, "epochs": 3, "net": {"depth": 2}}, num_samples=14)
    assert tell(search, "first").items() >= {"epochs": 3}.items()
    assert tell(resumed(search, space, tmp_path), "second")["width"] in (1, 8, 64)


def test_wider_bounds_and_more_choices_are_gone_on_with(tmp_path, caplog):
    space = {"width": tune.choice([1, 8, 64]), "lr": tune.loguniform(1e-3, 0.1)}
    wider = {"width": tune.choice([128, 64, 8, 1]), "lr": tune.loguniform(1e-4, 1.0)}
    again = resumed(searched(space), wider, tmp_path)
    assert caplog.text == ""
    tried = {tell(again, str(trial), best=128)["width"] for trial in range(14, 24)}
    assert 128 in tried


def test_strata_of_numbers_are_matched_by_where_the_number_lies():
    space = {"units": tune.randint(1, 1000), "lr": tune.loguniform(1e-4, 1.0)}
    search = GlocalSearch(space, "loss", "min", seed=random.Random(0).randrange(99))
    numbers = [search.suggest(str(trial))["units"] for trial in range(20)]
    other = split({**space, "units": tune.randint(1, 2000)})
    levels = [r.added.levels[0] for r in matched(search.ledger, other).trials.values()]
    middles = [sorted(level)[len(level) // 2] for level in other.discrete[0].levels]
    for number, level in zip(numbers, levels, strict=True):
        gaps = [min(abs(number - own) for own in stratum) for stratum in other.discrete[0].levels]
        assert gaps[level] == min(gaps)
    assert middles == sorted(middles)
    narrow = split({**space, "units": tune.randint(1, 100)})
    levels = [r.added.levels[0] for r in matched(search.ledger, narrow).trials.values()]
    assert [level == -1 for level in levels] == [number > 100 for number in numbers]


# ---- on Ray ----

CHANGED = {**trainables.SPACE, "width": tune.choice([1, 2, 8])}
GROWN = {**trainables.SPACE, "depth": tune.choice([1, 2])}


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("default")
class TestResumed:
    def run(self, folder, space, **options):
        search = GlocalSearch(space, "val_loss", "min", seed=0)
        told = {"search_alg": search, "scheduler": GlocalScheduler(rules=("nonfinite",)), "name": "experiment"}
        told |= {"raise_on_failed_trial": False, "num_samples": 2, "verbose": 0, "reuse_actors": True}
        return tune.run(trainables.faulty, config=space, storage_path=str(folder), **told, **options)

    def test_by_tune_run(self, tmp_path):
        assert [trial.status for trial in self.run(tmp_path, trainables.SPACE).trials] == ["ERROR"] * 2
        with pytest.raises(ArgumentError, match=r"`space` must hold the hyperparameters .*'depth' is new"):
            self.run(tmp_path, GROWN, resume="AUTO+ERRORED")
        for _ in range(2):
            analysis = self.run(tmp_path, CHANGED, resume="AUTO+ERRORED")
        assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
        assert [trial.last_result["step"] for trial in analysis.trials] == [9, 9]

    def test_by_a_restored_tuner(self, tmp_path):
        search = GlocalSearch(trainables.SPACE, "val_loss", "min", seed=0)
        config = tune.TuneConfig(num_samples=2, search_alg=search, scheduler=GlocalScheduler(grace_period=1))
        run = tune.RunConfig(name="tuner", storage_path=str(tmp_path), verbose=0)
        tune.Tuner(trainables.curve, param_space=trainables.SPACE, tune_config=config, run_config=run).fit()
        path = str(tmp_path / "tuner")
        with pytest.raises((ArgumentError, TuneError), match="'width' lost 4 and gained 8"):
            tune.Tuner.restore(path, trainables.curve, param_space=CHANGED).fit()
        results = tune.Tuner.restore(path, trainables.curve, param_space=trainables.SPACE).fit()
        assert len(results) == 2
