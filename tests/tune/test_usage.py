"""Tune as people use it, on a virtual clock: each experiment is Tune's own, and what is right stands beside it."""

from collections import Counter
from typing import ClassVar

import pytest
from ray import tune
from ray.tune.search import Repeater

from ray_glocal.simulate import following, simulate
from ray_glocal.tune import GlocalScheduler, GlocalSearch, GlocalTrainable, adapted

SPACE = {"width": tune.choice([1, 2]), "lr": tune.loguniform(1e-4, 1.0)}


def search(space=SPACE, **told):
    return GlocalSearch(space, metric="loss", mode="min", **told)


def run(trainable, space=SPACE, samples=10, **told):
    told = {"search_alg": search(space), "scheduler": GlocalScheduler(metric="loss", mode="min"), **told}
    return simulate(trainable, space, metric="loss", mode="min", num_samples=samples, **told)


class Net:
    """Takes what the space holds and nothing else, as models do that are built by `Net(**config)`."""

    def __init__(self, width, lr):
        self.width, self.lr = width, lr


def unpacking(config):
    tune.report({"loss": Net(**config).lr})


def test_a_configuration_holds_what_the_space_holds_and_nothing_else():
    told = run(unpacking)
    assert Counter(told.statuses) == {"TERMINATED": 10}
    assert {name for config in told.configs for name in config} == {"width", "lr"}


class Saving(tune.Trainable):
    """A class trainable of somebody's own that saves at each step and tells which ancestor it was given."""

    heard: ClassVar = []

    def setup(self, config):
        self.at = 0
        ancestor = adapted(config, SPACE, trainable=self).ancestor
        self.heard.append((self.trial_id, None if ancestor is None else ancestor.path))

    def step(self):
        self.at += 1
        return {"loss": self.config["lr"] / self.at, "done": self.at == 3, "should_checkpoint": True}

    def save_checkpoint(self, checkpoint_dir):
        pass

    def load_checkpoint(self, checkpoint):
        pass

    def reset_config(self, new_config):
        self.setup(new_config)
        return True


@pytest.mark.parametrize("reuse_actors", [False, True])
def test_the_trials_that_shall_inherit_find_their_ancestors_and_no_other_does(reuse_actors, tmp_path):
    Saving.heard.clear()
    searcher = search()
    told = run(Saving, search_alg=searcher, samples=16, reuse_actors=reuse_actors, folder=tmp_path)
    assert Counter(told.statuses) == {"TERMINATED": 16}
    recorded = {name: record.added.weights for name, record in searcher.ledger.trials.items()}
    assert dict(Saving.heard) == recorded
    assert any(recorded.values())


class Failing(Saving):
    """Fails once, where it has an ancestor."""

    failed: ClassVar = set()

    def step(self):
        if adapted(self.config, SPACE, trainable=self).ancestor is not None and self.trial_id not in self.failed:
            self.failed.add(self.trial_id)
            raise RuntimeError
        return super().step()


def test_a_trial_that_is_tried_again_still_finds_its_ancestor(tmp_path):
    Saving.heard.clear()
    searcher = search()
    run(Failing, search_alg=searcher, samples=16, max_failures=1, folder=tmp_path)
    assert Failing.failed
    for name in Failing.failed:
        assert [place for heard, place in Saving.heard if heard == name] == [
            searcher.ledger.trial(name).added.weights
        ] * 2


def test_a_nested_metric_is_read_by_its_whole_name():
    told = simulate(following(lambda config, k: {"val": {"loss": 1 / k}}, 3), SPACE, metric="val/loss", mode="min")
    assert told.best() == 1 / 3


def noisy(config, iteration):
    """Of width 16 the first repetition looks best of all, and the mean is 6.7; of width 64 all are at a half."""
    return {"loss": 0.5 if config["width"] == 64 else 0.1 if config["__trial_index__"] == 0 else 10.0}


def test_repetitions_are_trials_of_their_configuration():
    space = {**SPACE, "width": tune.choice([16, 64])}
    searcher = search(space)
    scheduler = GlocalScheduler(metric="loss", mode="min", rules=("nonfinite",))
    told = run(following(noisy, 3), space, 60, search_alg=Repeater(searcher, repeat=3), scheduler=scheduler)
    assert Counter(config["width"] for config in told.configs)[64] >= 51
    rows = searcher.proposals()
    assert Counter(row["origin"] == "repeat" for row in rows) == {True: 40, False: 20}
    for group in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert group[1]["reason"] == group[2]["reason"] == f"Repeats trial {group[0]['trial']}."
        assert all(row["start"] == group[0]["start"] and row["ancestor"] == group[0]["ancestor"] for row in group)


class Told(GlocalTrainable):
    """Tells what it was built with."""

    built: ClassVar = []

    def build(self, config, data=None):
        self.built.append(data)
        raise RuntimeError


def test_what_with_parameters_gives_reaches_build():
    trainable = tune.with_parameters(Told, data=[1, 2])
    with pytest.raises(RuntimeError):
        trainable(config={})
    assert Told.built == [[1, 2]]
