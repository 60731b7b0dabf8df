"""A contract that any scheduler can be held to, on Tune's own controller: ours keeps it, stock ones break it in parts.

Known breaches are strict expected failures: they prove that the contract can fail, and tell when Ray mends one.
"""

import math
import random
from collections import Counter

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, PopulationBasedTraining

from ray_glocal import GlocalScheduler
from ray_glocal.simulate import Cluster, following, simulate

from .cases import LENGTH, falling

BOUNDS = (0.05, 0.5)
SCHEDULERS = {
    "glocal": lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH),
    "glocal, every rule": lambda: GlocalScheduler(
        time_attr="training_iteration", max_t=LENGTH, rules=("nonfinite", "rung", "dominated", "stalled")
    ),
    "fifo": FIFOScheduler,
    "asha": lambda: ASHAScheduler(max_t=LENGTH),
    "median": lambda: MedianStoppingRule(grace_period=3),
    "pbt": lambda: PopulationBasedTraining(
        perturbation_interval=5, hyperparam_mutations={"rate": tune.uniform(*BOUNDS)}, quantile_fraction=0.5
    ),
}
SPACE = {"floor": tune.uniform(0.1, 1), "rate": tune.uniform(*BOUNDS)}


def breaching(**reasons):
    """All schedulers; those with a reason are expected to fail."""
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.xfail(strict=True, reason=reasons[name]) if name in reasons else ())
            for name in SCHEDULERS
        ],
    )


def run(name, curve=falling, space=SPACE, **options):
    settings = {"metric": "loss", "mode": "min", "num_samples": 16, "cluster": Cluster(4)} | options
    return simulate(following(curve, LENGTH), space, scheduler=SCHEDULERS[name](), **settings)


def reached(told):
    """The last iteration of each trial."""
    return {result.trial: result.iteration for result in told.results}


@breaching()
def test_every_trial_ends_and_somebody_gets_to_the_end(name):
    told = run(name)
    assert told.statuses == ("TERMINATED",) * 16
    assert max(reached(told).values()) == LENGTH


@breaching()
def test_no_trial_is_lost_when_workers_die(name):
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    told = run(name, cluster=Cluster(4, failures=0.03), max_failures=-1, checkpoint_config=kept, seed=2)
    assert told.statuses == ("TERMINATED",) * 16
    assert len(reached(told)) == 16


@breaching(median="iterations that are run again count again", pbt="its clones change where iterations are run again")
def test_on_one_worker_deaths_change_no_decision(name):
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    options = {"checkpoint_config": kept, "max_failures": -1, "num_samples": 8, "seed": 1}
    calm, disturbed = (run(name, cluster=Cluster(1, failures=rate), **options) for rate in (0.0, 0.05))
    assert Counter(reached(calm).values()) == Counter(reached(disturbed).values())
    assert sorted(calm.finals().values()) == sorted(disturbed.finals().values())


@breaching(
    fifo="it judges nobody",
    asha="`nan < cutoff` is False",
    median="a NaN is not below the median of the others",
    pbt="a NaN is never among the worst",
)
def test_a_trial_that_diverges_is_stopped_at_once(name):
    def curve(config, iteration):  # the best do, for whom nothing else speaks against
        return falling(config, iteration) if config["floor"] > 0.5 or iteration < 4 else {"loss": math.nan}

    told = run(name, curve)
    lost = {result.trial for result in told.results if math.isnan(result.value)}
    assert lost
    assert {reached(told)[trial] for trial in lost} == {4}


@breaching(fifo="it judges nobody", asha="who comes first to a rung passes it", pbt="it stops nobody")
def test_the_worst_does_not_get_to_the_end_by_coming_first(name):
    space = {"floor": tune.grid_search([0.9, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2]), "rate": 0.3}
    told = run(
        name, space=space, num_samples=1, cluster=Cluster(7), seconds=lambda c, r: 0.9 if c["floor"] > 0.8 else 1
    )
    worst = next(trial for trial, config in enumerate(told.configs) if config["floor"] == 0.9)
    assert reached(told)[worst] < LENGTH


@breaching(pbt="it perturbs by factors and looks at no bound")
def test_values_stay_within_their_bounds(name):
    for seed in range(3):
        for config in run(name, seed=seed).configs:
            assert BOUNDS[0] <= config["rate"] <= BOUNDS[1]


@breaching(pbt="it draws from the global generator")
def test_the_global_generators_decide_nothing(name, monkeypatch):
    first = run(name)
    monkeypatch.setattr(random, "seed", lambda *_, seed=random.seed: seed(99))
    assert run(name).results == first.results


@breaching(fifo="it judges nobody", pbt="it stops nobody")
def test_less_is_spent_and_the_best_is_kept(name):
    told, plain = (run(which, num_samples=48, seed=5) for which in (name, "fifo"))
    assert told.busy < 0.7 * plain.busy
    assert told.best() < plain.best() + 0.05
