"""Tune as people use it, on a virtual clock: each experiment is Tune's own, and what is right stands beside it."""

import gc
import io
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
import trainables
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search import Repeater

from ray_glocal.errors import ArgumentError
from ray_glocal.session.state import checkpoint as checkpoint_file
from ray_glocal.simulate import Cluster, following, simulate
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


class Mutating(trainables.Small):
    """Tells with which rate it goes on, which its configuration names, and which are in the checkpoint."""

    resumed: ClassVar = []

    def load_checkpoint(self, checkpoint):
        super().load_checkpoint(checkpoint)
        (rate,) = {group["lr"] for group in self.session.problem.optimizer.param_groups}
        held = checkpoint_file.read(Path(checkpoint))
        adapted, start = (float(held[kind]["lr"]) for kind in ("values", "starts"))
        self.resumed.append((rate, float(self.session.values["lr"]), self.config["lr"], adapted, start))


@pytest.mark.parametrize("reuse_actors", [False, True])
def test_what_population_based_training_changes_counts_over_a_session(reuse_actors):
    Mutating.resumed.clear()
    scheduler = PopulationBasedTraining(
        time_attr="step", perturbation_interval=8, hyperparam_mutations={"lr": tune.loguniform(1e-4, 1e-1)}
    )
    space = {"optimizer": "sgd", "width": tune.grid_search([1, 2, 4, 8]), "steps": 6, "lr": tune.loguniform(1e-3, 0.1)}
    told = simulate(
        *(Mutating, space),
        metric="val_loss",
        mode="min",
        scheduler=scheduler,
        cluster=Cluster(4),
        reuse_actors=reuse_actors,
    )
    assert set(told.statuses) == {"TERMINATED"}
    changed = 0
    for rate, value, configured, held, start in Mutating.resumed:
        changed += configured != start
        assert (rate, value) == pytest.approx((held if configured == start else configured,) * 2)
    assert changed


def unread(config):
    """No loss takes a third argument here."""
    session, batches = trainables.small(config, {**trainables.SPACE, "temperature": tune.uniform(0, 1)})
    for batch in session.batches(batches):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics())


@pytest.mark.parametrize("max_failures", [0, 2])
def test_a_name_that_nobody_reads_ends_the_experiment_at_the_first_trial(max_failures, tmp_path):
    space = {**trainables.SPACE, "temperature": tune.uniform(0, 1)}
    searcher = GlocalSearch(space, "val_loss", "min")
    with pytest.raises(Exception, match=r"`space` must adapt only .*; got 'temperature'\. .* `adapt=\[\.\.\.\]`"):
        simulate(
            *(unread, space),
            metric="val_loss",
            mode="min",
            num_samples=24,
            search_alg=searcher,
            scheduler=GlocalScheduler(),
            max_failures=max_failures,
            folder=tmp_path,
        )
    assert len(searcher.ledger.trials) <= 2, "the one that failed, and the one that waited"


def known(config):
    """What another trainable of the same hyperparameters reports."""
    tune.report({"val_loss": config["width"] + config["lr"]})


def close_loggers():
    """Of an experiment that ends by an error in its driver, Tune leaves the loggers' files open."""
    files = [held for held in gc.get_objects() if isinstance(held, io.IOBase)]
    for file in files:
        if not file.closed and "driver_artifacts" in str(getattr(file, "name", "")):
            file.close()


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("local_ray")
def test_on_a_cluster_an_experiment_begins_with_the_memory_of_another_and_ends_where_a_name_is_read_by_nobody(tmp_path):
    space = {**trainables.SPACE, "temperature": tune.uniform(0, 1)}
    told = {"config": space, "storage_path": str(tmp_path), "verbose": 0, "reuse_actors": True}
    first = GlocalSearch(space, "val_loss", "min")
    ran = tune.run(known, name="first", search_alg=first, scheduler=GlocalScheduler(), num_samples=3, **told)
    second = GlocalSearch(space, "val_loss", "min", from_experiment=ran.experiment_path)
    assert {t: r.losses for t, r in second.ledger.trials.items()} == {
        trial.trial_id: [(1, trial.last_result["val_loss"])] for trial in ran.trials
    }
    with pytest.raises(Exception, match=r"`space` must adapt only .*; got 'temperature'\. .* `adapt=\[\.\.\.\]`"):
        tune.run(unread, name="second", search_alg=second, scheduler=GlocalScheduler(), num_samples=24, **told)
    assert 4 <= len(second.ledger.trials) <= 7, "those that were known, and those that ran or waited with the first"
    close_loggers()


def test_the_overview_says_what_becomes_of_each_entry():
    space = {
        "net": {"width": tune.choice([8, 16, 32])},
        "optimizer": tune.choice(["sgd", "adamw"]),
        "lr": tune.loguniform(1e-4, 1.0),
        "momentum": tune.uniform(0.0, 0.99),
        "seed": tune.sample_from(lambda: 1),
        "steps": 10,
    }
    assert search(space).overview().splitlines() == [
        "lr         adapted    inside each trial, between 0.0001 and 1, in logarithms",
        "momentum   adapted    inside each trial, between 0 and 0.99; where the optimizer reads it, by "
        '`hypergradients="windows"` alone: else it keeps the value that the trial starts with',
        "net/width  searched   across trials, 3 values, in order",
        "optimizer  searched   across trials, 2 values",
        "seed       drawn      by Tune for each trial, and not learned from: a function",
        "steps      untouched  a constant",
    ]


def sloped(config, iteration):
    return {"loss": abs(config["width"] - 5) + 1 / iteration}


def test_a_new_experiment_goes_on_where_a_finished_one_ended(tmp_path):
    space = {**SPACE, "width": tune.choice([1, 2, 3, 4, 5, 6])}
    first = search(space)
    run(following(sloped, 3), space, 24, search_alg=first)
    first.save_to_dir(str(tmp_path))
    second = search(space, from_experiment=tmp_path)
    told = run(following(sloped, 3), space, 10, search_alg=second)
    assert Counter(config["width"] for config in told.configs)[5] >= 7, "it is known which is the best"
    assert len(second.ledger.trials) == 34
    fresh = run(following(sloped, 3), space, 10)
    assert Counter(config["width"] for config in fresh.configs)[5] < 7


def test_an_experiment_of_other_hyperparameters_is_not_gone_on_with(tmp_path):
    first = search()
    first.suggest("a")
    first.save_to_dir(str(tmp_path))
    with pytest.raises(ArgumentError, match="`space` must hold the hyperparameters of the experiment"):
        search({**SPACE, "depth": tune.choice([1, 2])}, from_experiment=tmp_path)
    with pytest.raises(ArgumentError, match="`from_experiment` must be the folder of an experiment that can be read"):
        search(from_experiment=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ArgumentError, match=r"`from_experiment` must hold a file searcher-state-.*; got '.*/empty'. Name"
    ):
        search(from_experiment=tmp_path / "empty")
    assert search(from_experiment=tmp_path).ledger.live == frozenset(), "what ran there is given up"
