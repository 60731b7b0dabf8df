"""A contract that any scheduler can be held to, on Tune's own controller: ours keeps it, stock ones break it in parts.

Known breaches are strict expected failures: they prove that the contract can fail, and tell when Ray mends one.

| known defect | its test |
| --- | --- |
| ASHA never stops a NaN trial | test_a_trial_that_diverges_is_stopped_at_once |
| PBT never replaces a NaN trial | the same |
| synchronous PBT waits for ever for a trial that failed | test_one_failure_for_good_holds_up_nobody |
| PBT fails trials where one or two checkpoints are kept | test_trials_do_not_fail_where_few_checkpoints_are_kept, |
| | test_too_few_checkpoints_to_hand_down_are_refused_before_anything_runs |
| PBT pauses trials that all fit, and starts actors again | test_an_actor_is_started_once_for_each_trial |
| ASHA's ladder of float logarithms loses its top rung | test_trials_are_judged_on_the_last_rung_below_the_end; |
| | the ladder itself: tests/scheduling/test_rungs.py |
| ASHA lets those pass who come first | test_the_worst_does_not_get_to_the_end_by_coming_first |
| PBT draws from the global generators | test_the_global_generators_decide_nothing |
| PBT's perturbations leave the bounds | test_values_stay_within_their_bounds |
| nobody saves the scheduler; errors change decisions | test_on_one_worker_deaths_change_no_decision, |
| | tests/tune/test_event_orders.py (restores), tests/tune/test_scheduler_memory.py |
| a clone counts on from its donor's steps and costs | test_a_seeded_trial_counts_its_own_iterations, |
| | tests/tune/test_trainable.py (a session's steps and costs) |
| without `reset_config` a reused actor fails its trial | test_actors_may_serve_one_trial_after_the_other, |
| | tests/tune/test_trainable.py |
| answers are compared by `is` | tests/tune/test_event_orders.py |
| buffered results are judged after the trial went on | test_results_are_not_buffered |
"""

import math
import random
from collections import Counter

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, PopulationBasedTraining

from ray_glocal import GlocalScheduler, GlocalSearch
from ray_glocal.errors import ArgumentError
from ray_glocal.simulate import Cluster, following, simulate
from ray_glocal.simulate.actors import VirtualActors

from .cases import LENGTH, falling

BOUNDS = (0.05, 0.5)
SCHEDULERS = {
    "glocal": lambda: GlocalScheduler(time_attr="training_iteration", max_t=LENGTH),
    "fifo": FIFOScheduler,
    "asha": lambda: ASHAScheduler(max_t=LENGTH),
    "median": lambda: MedianStoppingRule(grace_period=3),
    "pbt": lambda: PopulationBasedTraining(
        perturbation_interval=5, hyperparam_mutations={"rate": tune.uniform(*BOUNDS)}, quantile_fraction=0.5
    ),
}
SPACE = {"floor": tune.uniform(0.1, 1), "rate": tune.uniform(*BOUNDS)}


SYNCHRONOUS = {
    "synchronous pbt": lambda: PopulationBasedTraining(
        perturbation_interval=5, hyperparam_mutations={"rate": tune.uniform(*BOUNDS)}, synch=True
    )
}


def breaching(schedulers=SCHEDULERS, raises=None, **reasons):
    """All schedulers; those with a reason are expected to fail."""
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(
                name,
                marks=pytest.mark.xfail(strict=True, reason=reasons[name], raises=raises or AssertionError)
                if name in reasons
                else (),
            )
            for name in schedulers
        ],
    )


def run(name, curve=falling, space=SPACE, length=LENGTH, **options):
    settings = {"metric": "loss", "mode": "min", "num_samples": 16, "cluster": Cluster(4)} | options
    scheduler = (SCHEDULERS | SYNCHRONOUS)[name]()
    return simulate(following(curve, length), space, scheduler=scheduler, **settings)


def searched(seed=0, **options):
    """Both of ours: seeded trials start from the values of others."""
    space = {"floor": tune.choice([0.1, 0.3, 0.5]), "rate": tune.uniform(*BOUNDS)}
    search = GlocalSearch(space, metric="loss", mode="min", seed=seed, weights=options.pop("weights", False))
    scheduler = GlocalScheduler(time_attr="training_iteration", max_t=LENGTH, search=search)
    settings = {"metric": "loss", "mode": "min", "num_samples": 24, "cluster": Cluster(4)} | options
    return simulate(following(falling, LENGTH), {}, scheduler=scheduler, search_alg=search, **settings), search.ledger


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


@breaching(fifo="it judges nobody", asha="who comes first to a rung passes it")
def test_the_worst_does_not_get_to_the_end_by_coming_first(name):
    space = {"floor": tune.grid_search([0.9, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2]), "rate": 0.3}
    told = run(
        name, space=space, num_samples=1, cluster=Cluster(7), seconds=lambda c, r: 0.9 if c["floor"] > 0.8 else 1
    )
    worst = [trial for trial, config in enumerate(told.configs) if config["floor"] == 0.9]  # PBT has replaced it
    assert worst or name == "pbt"
    assert not any(reached(told)[trial] == LENGTH for trial in worst)


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


@breaching(SCHEDULERS | SYNCHRONOUS, ArgumentError, **{"synchronous pbt": "it waits for the one that failed"})
def test_one_failure_for_good_holds_up_nobody(name):
    def curve(config, iteration):
        if config["failing"] and iteration == 2:
            raise RuntimeError("the trainable's own")
        return falling(config, iteration)

    space = {**SPACE, "failing": tune.grid_search([False, False, True, False, False, False])}
    told = run(name, curve, space, num_samples=1, cluster=Cluster(3))
    failing = [trial for trial, config in enumerate(told.configs) if config["failing"]]
    assert [trial for trial, status in enumerate(told.statuses) if status == "ERROR"] == failing
    assert max(reached(told).values()) == LENGTH


@pytest.mark.filterwarnings("ignore:Using .CheckpointConfig.num_to_keep:UserWarning")
@breaching(pbt="what a donor had is deleted before it is copied")
@pytest.mark.parametrize("kept", [1, 2])
def test_trials_do_not_fail_where_few_checkpoints_are_kept(name, kept):
    checkpoints = tune.CheckpointConfig(num_to_keep=kept, checkpoint_frequency=1)
    told = run(name, num_samples=4, checkpoint_config=checkpoints)
    assert told.statuses == ("TERMINATED",) * 4


@pytest.mark.parametrize("kept", [1, 2])
def test_too_few_checkpoints_to_hand_down_are_refused_before_anything_runs(kept, monkeypatch):
    checkpoints = tune.CheckpointConfig(num_to_keep=kept, checkpoint_frequency=1)
    begun = starts(monkeypatch)
    with pytest.raises(ArgumentError, match=rf"`num_to_keep` must be None or at least 3.*got {kept}"):
        searched(weights=True, checkpoint_config=checkpoints)
    assert not begun
    told, _ = searched(weights=False, checkpoint_config=checkpoints)
    assert told.statuses == ("TERMINATED",) * 24


def starts(monkeypatch):
    """A list that grows by each start of an actor."""
    begun, started = [], VirtualActors._started

    def noted(actors, tracked):
        begun.append(tracked)
        started(actors, tracked)

    monkeypatch.setattr(VirtualActors, "_started", noted)
    return begun


@breaching(median="it pauses while others wait", pbt="it pauses while others wait, and to clone")
def test_an_actor_is_started_once_for_each_trial(name, monkeypatch):
    begun = starts(monkeypatch)
    run(name)
    assert len(begun) == 16


@breaching(pbt="it pauses while any other waits to be resumed")
def test_an_actor_is_started_once_where_all_fit(name, monkeypatch):
    begun = starts(monkeypatch)
    run(name, num_samples=4)
    assert len(begun) == 4


LONG = {
    "glocal": lambda: GlocalScheduler(time_attr="training_iteration", max_t=243, grace_period=1),
    "asha": lambda: ASHAScheduler(max_t=243, grace_period=1, reduction_factor=3),
}


@pytest.mark.parametrize("name", LONG)
def test_trials_are_judged_on_the_last_rung_below_the_end(name, monkeypatch):
    """The logarithm of 243 to the base of 3 is less than 5 in floats: a ladder of them lacks a rung."""
    monkeypatch.setitem(SCHEDULERS, name, LONG[name])

    def curve(config, iteration):
        return {"loss": 1.0 + config["rank"] * (iteration >= 81)}

    space = {"rank": tune.grid_search([0, 1, 2, 3, 4, 5])}
    told = run(name, curve, space, 243, num_samples=1, cluster=Cluster(1))
    ends = dict(zip((config["rank"] for config in told.configs), reached(told).values(), strict=True))
    assert ends[0] == 243
    assert ends[5] == 81


def test_seeded_values_stay_within_their_bounds_and_no_global_generator_decides(monkeypatch):
    first, ledger = searched()
    assert {record.added.origin for record in ledger.trials.values()} == {"cover", "seed", "explore"}
    assert all(BOUNDS[0] <= config["rate"] <= BOUNDS[1] for config in first.configs)
    monkeypatch.setattr(random, "seed", lambda *_, seed=random.seed: seed(99))
    assert searched()[0].results == first.results
    assert searched(seed=1)[0].results != first.results


def test_a_seeded_trial_counts_its_own_iterations():
    told, ledger = searched()
    seeded = [k for k, record in enumerate(ledger.trials.values()) if record.added.origin == "seed"]
    assert seeded
    for trial in seeded:
        own = [result.iteration for result in told.results if result.trial == trial]
        assert own == list(range(1, len(own) + 1))


@breaching(pbt="it pauses whoever runs while another waits, and pauses cost actors")
def test_actors_may_serve_one_trial_after_the_other(name, monkeypatch):
    begun = starts(monkeypatch)
    told = run(name, reuse_actors=True)
    assert told.statuses == ("TERMINATED",) * 16
    assert len(begun) < 30


@breaching()
def test_results_are_not_buffered(name, monkeypatch):
    plain = run(name)
    monkeypatch.setenv("TUNE_RESULT_BUFFER_LENGTH", "4")
    assert run(name).results == plain.results
