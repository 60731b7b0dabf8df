"""Every way to run an experiment: entry points, kinds of trainables, actors reused or not, many at once, and no end."""

import gc
import math
from types import SimpleNamespace

import frail
import pyarrow.parquet as pq
import pytest
from ray import tune

from ray_glocal.tune import GlocalScheduler, GlocalSearch

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("local_ray"),
    pytest.mark.filterwarnings("default", "ignore:unclosed file:ResourceWarning"),
]

SPACE = {
    "optimizer": tune.choice(["sgd", "adamw"]),
    "width": tune.choice([1, 2, 4]),
    "lr": tune.loguniform(1e-4, 1.0),
}


class Results(tune.Stopper):
    """Ends the whole experiment after so many results; the last of a function comes twice."""

    def __init__(self, results):
        self.enough, self.seen = results, set()

    def __call__(self, trial_id, result):
        self.seen.add((trial_id, result["step"]))
        return False

    def stop_all(self):
        return len(self.seen) >= self.enough


def by_run(trainable, folder, config, cpus, trials, at_a_time, reuse, stop):
    search, scheduler = pair()
    analysis = tune.run(
        trainable,
        name="experiment",
        config=config,
        num_samples=trials,
        search_alg=search,
        scheduler=scheduler,
        max_concurrent_trials=at_a_time,
        resources_per_trial={"cpu": cpus} if cpus else None,
        reuse_actors=reuse,
        stop=stop,
        verbose=0,
        storage_path=str(folder),
    )
    best = analysis.get_best_trial("val_loss", "min", scope="last").last_result
    return SimpleNamespace(search=search, scheduler=scheduler, trials=analysis.trials, best=best)


def by_tuner(trainable, folder, config, cpus, trials, at_a_time, reuse, stop):
    search, scheduler = pair()
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus}) if cpus else trainable,
        param_space=config,
        tune_config=tune.TuneConfig(
            num_samples=trials,
            search_alg=search,
            scheduler=scheduler,
            max_concurrent_trials=at_a_time,
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(name="experiment", storage_path=str(folder), verbose=0, stop=stop),
    )
    results = tuner.fit()
    assert not results.errors
    trials = results._experiment_analysis.trials
    best = results.get_best_result("val_loss", "min", scope="last").metrics
    return SimpleNamespace(search=search, scheduler=scheduler, trials=trials, best=best)


def pair():
    search = GlocalSearch(SPACE, metric="val_loss", mode="min", seed=0)
    return search, GlocalScheduler(metric="val_loss", mode="min", search=search, grace_period=1)


@pytest.fixture(params=[by_run, by_tuner])
def experiment(request, tmp_path):
    """Run an experiment by one of the entry points, and check what it leaves."""

    def experiment(trainable, trials, at_a_time, cpus=None, reuse=True, stop=None, **constants):
        constants = {"beats": str(tmp_path / "beats"), "pace": 0.0, "fault": "none", "faults": 0, **constants}
        done = request.param(trainable, tmp_path, {**SPACE, **constants}, cpus, trials, at_a_time, reuse, stop)
        check(done, tmp_path / "experiment")
        return done

    return experiment


def check(done, folder):
    """Tune, the ledger and the decisions tell the same."""
    trials, records = {t.trial_id: t for t in done.trials}, done.scheduler.ledger.trials
    assert {t.status for t in trials.values()} == {"TERMINATED"}
    assert done.search.ledger is done.scheduler.ledger
    assert done.search.ledger.proposals == len(trials)
    assert set(records) == set(trials)
    assert {r.status for r in records.values()} == {"completed"}
    assert done.scheduler.ledger.live == frozenset()
    for name, record in records.items():
        last = trials[name].last_result
        reported = (record.latest.step, record.latest.loss) if record.latest else (None, None)
        assert reported == (last.get("step"), last.get("val_loss"))
    rows = done.scheduler.decisions()
    stopped = {row["trial"]: row["step"] for row in rows if row["action"] == "stop"}
    assert set(stopped) == {name for name, record in records.items() if record.pruned}
    assert {name: trials[name].last_result["step"] for name in stopped} == stopped
    assert pq.read_table(folder / "decisions.parquet").to_pylist() == rows
    lowest = min(r.latest.loss for r in records.values() if r.latest)
    assert math.isclose(done.best["val_loss"], lowest)


def at_the_end(done):
    return [t for t in done.trials if t.last_result.get("step") == frail.STEPS]


@pytest.mark.parametrize("trainable", [frail.steady, frail.Failing])
@pytest.mark.parametrize("reuse", [True, False])
def test_two_at_a_time(experiment, trainable, reuse):
    done = experiment(trainable, trials=6, at_a_time=2, reuse=reuse)
    assert len(done.trials) == 6
    assert at_the_end(done)
    workers = {t.last_result["pid"] for t in done.trials}
    assert (len(workers) < 6) == reuse


def test_sixteen_at_a_time_on_fractions_of_cpus(experiment):
    done = experiment(frail.Gathering, trials=18, at_a_time=16, cpus=0.1, together=16)
    assert len(done.trials) == 18
    assert at_the_end(done)
    assert len({t.last_result["pid"] for t in done.trials}) == 16


@pytest.mark.parametrize("trainable", [frail.steady, frail.Failing])
def test_without_a_number_of_samples_until_a_stopper_ends_everything(experiment, trainable):
    stopper = Results(40)
    done = experiment(trainable, trials=-1, at_a_time=2, stop=stopper, pace=0.02)
    reported = {name: [step for step, _ in r.losses] for name, r in done.scheduler.ledger.trials.items()}
    assert {(name, step) for name, steps in reported.items() for step in steps} == stopper.seen
    assert len(stopper.seen) == 40
    assert at_the_end(done)
    del done
    gc.collect()  # Tune leaves files of the trials that it ended open: no later test shall be told
