"""Experiments on the virtual clock: arithmetic of their length, failures, determinism, and Tune's own schedulers."""

import json
import math
import os
import random
from statistics import mean

import numpy as np
import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, PopulationBasedTraining
from ray.tune.search import ConcurrencyLimiter

from ray_glocal import GlocalScheduler, GlocalSearch
from ray_glocal.errors import ArgumentError
from ray_glocal.simulate import Cluster, Outage, following, simulate
from ray_glocal.simulate.workers import Workers

from .cases import LENGTH, falling

SPACE = {"floor": tune.uniform(0, 1), "rate": tune.loguniform(0.01, 1)}


def run(scheduler=None, trainable=None, **options):
    settings = {"metric": "loss", "mode": "min", "num_samples": 12, "cluster": Cluster(3)} | options
    return simulate(trainable or following(falling, LENGTH), SPACE, scheduler=scheduler, **settings)


def test_an_experiment_takes_as_long_as_its_rounds():
    told = run(cluster=Cluster(3, start=0.5, report=0.25), seconds=lambda config, result: 2.0)
    rounds = math.ceil(12 / 3)
    assert told.seconds == pytest.approx(rounds * (0.5 + LENGTH * 2.25))
    assert told.busy == pytest.approx(12 * (0.5 + LENGTH * 2.25))
    assert len(told.results) == 12 * LENGTH
    assert set(told.statuses) == {"TERMINATED"}
    first = [result for result in told.results if result.trial == 0]
    assert [result.time for result in first] == pytest.approx([0.5 + 2.25 * k for k in range(1, LENGTH + 1)])
    config = told.configs[0]
    assert [result.value for result in first] == [falling(config, k)["loss"] for k in range(1, LENGTH + 1)]


def test_a_call_may_take_as_long_as_its_configuration_says():
    told = run(seconds=lambda config, result: 1 + config["floor"], num_samples=1)
    assert told.seconds == pytest.approx(LENGTH * (1 + told.configs[0]["floor"]))


class Beside(GlocalScheduler):
    """Pauses now and then, and chooses as `FIFOScheduler` does, which looks through all trials."""

    def __init__(self, **options):
        super().__init__(**options)
        self.chosen, self.paused = [], 0

    def on_trial_result(self, tune_controller, trial, result):
        answer = super().on_trial_result(tune_controller, trial, result)
        if answer is self.CONTINUE and result["training_iteration"] % 5 == 0:
            self.paused += 1
            return self.PAUSE
        return answer

    def choose_trial_to_run(self, tune_controller):
        chosen = super().choose_trial_to_run(tune_controller)
        assert chosen is FIFOScheduler.choose_trial_to_run(self, tune_controller)
        self.chosen.append(chosen)
        return chosen


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("reuse", [False, True])
def test_trials_are_chosen_in_tunes_own_order_among_failures_and_pauses(ours, reuse):
    options = {"time_attr": "training_iteration", "max_t": LENGTH}
    space = {**SPACE, "width": tune.choice([1, 2])}
    search = GlocalSearch(space, "loss", "min") if ours else None
    scheduler = Beside(**options, **({"search": search} if ours else {}))
    told = simulate(
        following(falling, LENGTH),
        space,
        metric="loss",
        mode="min",
        num_samples=24,
        scheduler=scheduler,
        search_alg=search,
        cluster=Cluster(3, start=0.5, failures=0.02),
        max_failures=3,
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        reuse_actors=reuse,
    )
    assert len(told.statuses) == 24
    assert scheduler.paused > 5
    assert any(told.results[i].iteration >= told.results[i + 1].iteration for i in range(len(told.results) - 1))
    assert sum(chosen is not None for chosen in scheduler.chosen) > 24
    assert None in scheduler.chosen or not ours


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: ASHAScheduler(max_t=LENGTH),
        lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH),
        lambda: MedianStoppingRule(grace_period=3),
        lambda: PopulationBasedTraining(
            perturbation_interval=5, hyperparam_mutations={"rate": tune.loguniform(0.01, 1)}
        ),
    ],
)
@pytest.mark.parametrize("reuse", [False, True])
def test_the_same_seed_gives_the_same_experiment_and_another_gives_another(make, reuse):
    first, again = (run(make(), reuse_actors=reuse, seed=4) for _ in range(2))
    assert first.results == again.results
    assert first.statuses == again.statuses == ("TERMINATED",) * 12
    assert run(make(), reuse_actors=reuse, seed=5).results != first.results


def test_the_process_is_left_as_it_was():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    before, place = dict(os.environ), os.getcwd()
    run()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # noqa: NPY002
    assert dict(os.environ) == before
    assert os.getcwd() == place
    assert not ray.is_initialized()


def test_pruning_spends_less_and_finds_as_much():
    plain = run(num_samples=60, seed=2)
    pruned = run(GlocalScheduler(time_attr="training_iteration", max_t=LENGTH), num_samples=60, seed=2)
    assert pruned.busy < 0.6 * plain.busy
    assert pruned.best() == pytest.approx(plain.best(), rel=0.05)


def test_a_worker_that_dies_costs_its_work_and_the_trial_comes_back():
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    told = run(cluster=Cluster(3, failures=0.05), checkpoint_config=kept, max_failures=-1, seed=1)
    assert set(told.statuses) == {"TERMINATED"}
    assert told.seconds > run(seed=1).seconds
    for trial in range(12):
        own = [result for result in told.results if result.trial == trial]
        assert [result.iteration for result in own] == list(range(1, LENGTH + 1)), "it goes on where it was saved"


def test_without_a_second_attempt_a_death_is_an_error():
    told = run(cluster=Cluster(3, failures=0.05), seed=1)
    assert {"TERMINATED", "ERROR"} == set(told.statuses)
    assert len(told.statuses) == 12


def test_failures_come_as_often_as_they_are_said_to():
    told = run(cluster=Cluster(8, failures=0.02), num_samples=400, seed=3)
    survived = mean(status == "TERMINATED" for status in told.statuses)
    assert survived == pytest.approx(math.exp(-0.02 * LENGTH), abs=0.08)


def test_a_lost_node_takes_its_trials_with_it_and_they_go_on_elsewhere():
    cluster = Cluster(4, workers_per_node=2, outages=(Outage(10.5, 1, 40.0),))
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    told = run(cluster=cluster, num_samples=8, checkpoint_config=kept, max_failures=1)
    assert set(told.statuses) == {"TERMINATED"}
    during = [result for result in told.results if 11.5 < result.time < 50.5]
    assert len({result.time for result in during}) * 2 == len(during), "two workers are left"
    assert len([result for result in told.results if result.time > 52]) > 0
    assert told.seconds > 2 * LENGTH


def test_a_node_that_is_lost_twice_at_once_comes_back_with_the_later_end_and_no_worker_twice():
    workers = Workers(Cluster(4, workers_per_node=2))
    workers.lose(1)
    workers.lose(1)
    workers.regain(1)
    assert workers.free == 2
    workers.regain(1)
    assert [workers.take() for _ in range(workers.free)] == [0, 1, 2, 3]


def test_the_total_time_of_a_trial_goes_on_after_a_death():
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    told = run(
        cluster=Cluster(3, failures=0.05),
        checkpoint_config=kept,
        max_failures=-1,
        stop={"time_total_s": 20},
        seconds=lambda config, result: 2.0,
        seed=1,
    )
    assert told.statuses == ("TERMINATED",) * 12
    assert told.seconds > 4 * 20, "workers died"
    assert told.finals().keys() == set(range(12))
    assert {max(r.iteration for r in told.results if r.trial == trial) for trial in range(12)} == {10}


def test_a_cluster_that_is_lost_for_good_is_said():
    cluster = Cluster(2, workers_per_node=2, outages=(Outage(5.0, 0),))
    with pytest.raises(ArgumentError, match="keep a worker for the 12 trials that wait"):
        run(cluster=cluster, max_failures=-1)


class Failing(tune.Trainable):
    def step(self):
        if self.iteration == 3:
            raise ZeroDivisionError("the user's own")
        return {"loss": 1.0}


def test_a_trainable_that_raises_errs():
    told = run(trainable=Failing, num_samples=3)
    assert told.statuses == ("ERROR",) * 3
    assert {result.iteration for result in told.results} == {1, 2, 3}


class Descent(tune.Trainable):
    """A real one: gradient descent on a parabola, which takes as long as it says."""

    def setup(self, config):
        self.at = 1.0

    def step(self):
        self.at -= self.config["rate"] * 2 * self.at
        return {"loss": self.at**2, "cost/steps": 3.0 * (self.iteration + 1), "done": self.iteration >= 9}

    def save_checkpoint(self, checkpoint_dir):
        return {"at": self.at}

    def load_checkpoint(self, checkpoint):
        self.at = checkpoint["at"]


def test_a_real_trainable_trains_here():
    told = simulate(
        Descent,
        {"rate": tune.grid_search([0.1, 0.2, 0.3])},
        metric="loss",
        mode="min",
        cluster=Cluster(1),
        seconds=lambda config, result: 3.0,
    )
    assert told.seconds == 3 * 10 * 3.0
    assert told.finals() == pytest.approx({k: (1 - 2 * rate) ** 20 for k, rate in enumerate((0.1, 0.2, 0.3))})


def test_the_search_and_the_scheduler_of_this_library_work_together():
    space = {"floor": tune.choice([0.1, 0.5, 0.9]), "rate": tune.choice([0.03, 0.3]), "lr": tune.loguniform(1e-4, 1.0)}
    search = GlocalSearch(space, metric="loss", mode="min", seed=3, weights=False)
    told = simulate(
        following(falling, LENGTH),
        {},
        metric="loss",
        mode="min",
        num_samples=20,
        search_alg=ConcurrencyLimiter(search, max_concurrent=4),
        scheduler=GlocalScheduler(time_attr="training_iteration", max_t=LENGTH),
        cluster=Cluster(4),
    )
    assert len(told.statuses) == 20
    assert told.best() == pytest.approx(falling({"floor": 0.1, "rate": 0.3}, LENGTH)["loss"])


def test_a_curve_may_look_its_values_up_in_a_table():
    table = {"a": [3.0, 2.0, 1.5, 1.5, 1.5], "b": [1.0] * 5}
    told = simulate(
        following(lambda config, iteration: {"score": table[config["row"]][iteration - 1]}, 5),
        {"row": tune.grid_search(["a", "b"])},
        metric="score",
        mode="max",
    )
    values = {trial: [r.value for r in told.results if r.trial == trial] for trial in (0, 1)}
    assert values == {0: table["a"], 1: table["b"]}
    assert told.best(time=1.0) == told.best() == 3.0
    assert math.isnan(told.best(time=0.5))


def test_a_budget_breaks_an_experiment_off():
    told = run(budget=10.0)
    assert told.seconds == 10.0
    assert max(result.iteration for result in told.results) == 10
    assert "TERMINATED" not in told.statuses


class Enough(tune.Stopper):
    """Ends the whole experiment with the last result of a trial."""

    def __init__(self):
        self.over = False

    def __call__(self, trial_id, result):
        self.over = self.over or result["training_iteration"] == LENGTH
        return False

    def stop_all(self):
        return self.over


@pytest.mark.parametrize("save", [0.0, 0.5])
def test_the_last_result_counts_though_everything_was_stopped_while_it_was_saved(save):
    scheduler = GlocalScheduler(time_attr="training_iteration", grace_period=LENGTH)
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    told = run(scheduler, num_samples=-1, stop=Enough(), cluster=Cluster(2, save=save), checkpoint_config=kept)
    scheduler.decisions()
    losses = [loss for record in scheduler.ledger.trials.values() for loss in record.losses]
    longest = [(step, loss) for step, loss in losses if step == LENGTH]
    assert longest
    assert longest == [(r.iteration, r.value) for r in told.results if r.iteration == LENGTH]
    assert set(told.statuses) == {"TERMINATED"}
    assert scheduler.ledger.live == frozenset()


def test_a_stopper_may_be_a_function_or_limits():
    for stop in ({"training_iteration": 5}, lambda trial, result: result["training_iteration"] >= 5):
        assert max(result.iteration for result in run(stop=stop).results) == 5


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: run(mode="least"), "`mode` must be 'min' or 'max'; got 'least'"),
        (lambda: run(trainable=falling), "`trainable` must be a class trainable or a function of one configuration"),
        (lambda: run(trainable=dict), "`trainable` must be a class trainable or a function of one configuration"),
        (lambda: run(trainable=7), "must be a class trainable or a function of one configuration; got 7. Other"),
        (lambda: Cluster(0), "`workers` must be at least 1; got 0"),
        (lambda: Cluster(start=-1.0), "`start` must be finite and not negative; got -1.0"),
        (lambda: Cluster(2, outages=(Outage(1.0, 2),)), "`outages` must name a node below 2"),
        (lambda: following(falling, 0), "`iterations` must be at least 1; got 0"),
    ],
)
def test_what_cannot_be_simulated_is_refused(make, text):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert text in str(caught.value)


def test_the_last_snapshot_in_the_folder_tells_the_ends_of_all_trials(tmp_path):
    told = run(ASHAScheduler(max_t=LENGTH), folder=tmp_path)
    (file,) = (tmp_path / "simulation").glob("experiment_state-*.json")
    known = [[json.loads(text) for text in row] for row in json.loads(file.read_text())["trial_data"]]
    assert [state["status"] for state, _ in known] == ["TERMINATED"] * 12
    last = sorted(metadata["last_result"]["loss"] for _, metadata in known)
    assert last == sorted(told.finals().values())
