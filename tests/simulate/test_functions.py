"""Function trainables on the virtual clock: what a class does they do, and no thread of theirs is left behind."""

import functools
import json
import math
import random
from pathlib import Path

import pytest
import torch
from ray import tune

from ray_glocal import GlocalSession, adapted
from ray_glocal.session import Settings
from ray_glocal.simulate import Cluster, Outage, following, simulate

from .cases import LENGTH, falling
from .functions import SCHEDULERS, TRIALS, iterations, plain, run, saving, uneven

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_function_and_a_class_of_the_same_curve_make_the_same_experiment(scheduler, reuse):
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    options = {"seconds": uneven, "reuse_actors": reuse, "seed": 4, "num_samples": 8}
    theirs = run(following(falling, LENGTH), scheduler, checkpoint_config=kept, **options)
    ours, again = (run(saving, scheduler, **options) for _ in range(2))
    assert ours.results == theirs.results
    assert ours == again
    assert [c["rate"] for c in ours.configs] == [c["rate"] for c in theirs.configs]
    assert (ours.statuses, ours.seconds, ours.busy) == (theirs.statuses, theirs.seconds, theirs.busy)


def test_it_need_not_say_that_it_is_done():
    theirs, ours = (run(trainable, "asha", seconds=uneven) for trainable in (following(falling, LENGTH), plain))
    assert ours.results == theirs.results
    assert ours.statuses == ("TERMINATED",) * TRIALS


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_without_checkpoints_too_every_trial_ends(scheduler, reuse):
    told = run(plain, scheduler, reuse_actors=reuse)
    assert told.statuses == ("TERMINATED",) * TRIALS
    assert max(result.iteration for result in told.results) == LENGTH


def test_deaths_are_survived_as_by_a_class():
    options = {"cluster": Cluster(3, failures=0.05, save=0.1, restore=0.2), "max_failures": -1, "seed": 1}
    kept = tune.CheckpointConfig(checkpoint_frequency=1)
    theirs = run(following(falling, LENGTH), checkpoint_config=kept, seconds=uneven, **options)
    ours = run(saving, seconds=uneven, **options)
    assert ours.results == theirs.results
    assert ours.seconds == theirs.seconds
    assert ours.busy > run(saving, seconds=uneven, seed=1).busy, "workers died"


def test_it_goes_on_from_its_checkpoint_in_the_folder_of_the_experiment(tmp_path):
    outage = Outage(LENGTH / 2, 0, 5.0)
    told = run(saving, cluster=Cluster(1, outages=(outage,)), max_failures=1, num_samples=1, folder=tmp_path)
    assert told.statuses == ("TERMINATED",)
    assert iterations(told, 0) == list(range(1, LENGTH + 1))
    written = [json.loads(file.read_text()) for file in sorted(tmp_path.rglob("checkpoint_*/at.json"))]
    assert sorted(set(written)) == list(range(1, LENGTH + 1))
    assert written[-1] == LENGTH


def test_without_a_checkpoint_it_begins_anew():
    outage = Outage(LENGTH / 2, 0, 5.0)
    told = run(plain, cluster=Cluster(1, outages=(outage,)), max_failures=1, num_samples=1)
    assert iterations(told, 0) == [*range(1, LENGTH // 2 + 1), *range(1, LENGTH + 1)]


def test_of_many_checkpoints_as_many_are_kept_as_said(tmp_path):
    run(saving, num_samples=1, folder=tmp_path, checkpoint_config=tune.CheckpointConfig(num_to_keep=2))
    assert len(list(tmp_path.rglob("checkpoint_*/at.json"))) == 2


def returning(config):
    plain(config)
    return {"loss": 7.0}


def yielding(config):
    for at in range(1, LENGTH + 1):
        yield falling(config, at)


def counting(config):
    return config["floor"]


def test_what_it_returns_or_yields_is_reported_too():
    told = run(returning, num_samples=2, seconds=lambda config, result: result["loss"] and 1.0)
    assert [len(iterations(told, trial)) for trial in (0, 1)] == [LENGTH + 1] * 2
    assert told.finals() == {0: 7.0, 1: 7.0}
    assert told.seconds == LENGTH + 1
    assert run(yielding).results == run(plain).results
    alone = run(counting, metric="_metric", num_samples=2)
    assert [result.value for result in alone.results] == [config["floor"] for config in alone.configs]


def lifted(config, table, by=0.0):
    for value in table:
        tune.report({"loss": value + by + 0 * config["floor"]})


class Lifted:
    def __call__(self, config):
        lifted(config, [3.0, 2.0], by=1.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tune.with_parameters(lifted, table=[3.0, 2.0], by=1.0),
        lambda: functools.partial(lifted, table=[3.0, 2.0], by=1.0),
        lambda: tune.with_resources(tune.with_parameters(lifted, table=[4.0, 3.0]), {"cpu": 1000, "gpu": 8}),
        lambda: tune.with_resources(
            tune.with_parameters(lifted, table=[4.0, 3.0]),
            lambda config: tune.PlacementGroupFactory([{"CPU": 1 + round(config["floor"])}]),
        ),
        lambda: lambda config: lifted(config, [4.0, 3.0]),
        Lifted,
    ],
)
@pytest.mark.parametrize("reuse", [False, True])
def test_tunes_ways_to_write_a_function_are_known(make, reuse):
    told = run(make(), reuse_actors=reuse)
    assert told.statuses == ("TERMINATED",) * TRIALS
    assert told.finals() == dict.fromkeys(range(TRIALS), 3.0)


def introspective(config):
    context = tune.get_context()
    whose = (context.get_trial_id(), context.get_trial_name(), context.get_trial_dir())
    Path(config["folder"], whose[0]).write_text(whose[2])
    for at in range(1, 4):
        tune.report({"loss": float(config["trial"])})
        now = (context.get_trial_id(), context.get_trial_name(), context.get_trial_dir())
        assert now == whose, at


@pytest.mark.parametrize("reuse", [False, True])
def test_each_sees_its_own_context(reuse, tmp_path):
    (tmp_path / "told").mkdir()
    space = {"trial": tune.grid_search(list(range(8))), "folder": str(tmp_path / "told")}
    told = run(introspective, space=space, num_samples=1, reuse_actors=reuse, folder=tmp_path / "experiment")
    assert told.statuses == ("TERMINATED",) * 8
    folders = {Path(file.read_text()) for file in (tmp_path / "told").iterdir()}
    assert len(folders) == 8
    assert all(folder.is_relative_to(tmp_path / "experiment") for folder in folders)


def consuming(config):
    floor = config.pop("floor")
    for at in range(1, 4):
        tune.report(falling({"floor": floor, "rate": config["rate"]}, at))


def test_it_may_take_its_configuration_apart():
    told = run(consuming, seconds=uneven, num_samples=1)
    assert told.seconds == pytest.approx(3 * (1 + told.configs[0]["floor"]))


def drawing(config):
    for _ in range(5):
        tune.report({"loss": random.random()})


def test_draws_from_the_global_generators_are_the_same_again():
    assert run(drawing, seed=3).results == run(drawing, seed=3).results


def test_a_simulation_within_a_function_is_possible():
    def outer(config):
        tune.report({"loss": run(plain, num_samples=2).best()})
        tune.report({"loss": config["floor"]})

    told = run(outer, num_samples=2)
    assert [result.iteration for result in told.results] == [1, 1, 2, 2]


@pytest.mark.parametrize("options", [{"checkpoint_frequency": 2}, {"checkpoint_at_end": True}])
def test_tune_takes_no_checkpoints_of_it(options):
    with pytest.raises(ValueError, match=r"cannot be (set for|used with) a function trainable"):
        run(plain, checkpoint_config=tune.CheckpointConfig(**options))


SESSION_SPACE = {
    "width": tune.grid_search([2, 3, 4]),
    "lr": tune.loguniform(1e-3, 1.0),
    "momentum": tune.uniform(0.0, 0.9),
}
STEPS = 96


def trained(config):
    """A tiny network that learns a sine, and its batches."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, config["width"]), torch.nn.Tanh())
    network.append(torch.nn.Linear(config["width"], 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=config["lr"], momentum=config["momentum"])
    inputs = torch.linspace(-1, 1, 64).reshape(32, 2)
    batches = [(part, part.sum(1, keepdim=True).sin()) for part in inputs.split(8)]

    def mean_square(network, batch):
        return ((network(batch[0]) - batch[1]) ** 2).mean()

    session = GlocalSession(
        network,
        optimizer,
        mean_square,
        mean_square,
        val_batches=batches,
        hyper=adapted(config, SESSION_SPACE),
        total_steps=STEPS,
        settings=Settings(window=4, overhead=None, duty_cycle=0.125, report_every=8),
    )
    return session, network, batches


def learning(config):
    session, network, batches = trained(config)
    session.restore(tune.get_checkpoint())
    for batch in session.batches(batches):
        session.step(batch)
        if session.at_report:
            tune.report(session.metrics(), checkpoint=session.checkpoint())
    torch.save(network.state_dict(), Path(config["folder"], f"{config['width']}.pt"))


@pytest.mark.parametrize("cluster", [Cluster(2), Cluster(2, failures=0.05)])
def test_a_session_learns_as_in_a_plain_loop_also_where_its_worker_dies(cluster, tmp_path):
    told = run(
        learning,
        space={**SESSION_SPACE, "folder": str(tmp_path)},
        metric="val_loss",
        num_samples=1,
        cluster=cluster,
        max_failures=-1,
        reuse_actors=True,
        seed=1,
    )
    assert told.statuses == ("TERMINATED",) * 3
    for trial, config in enumerate(told.configs):
        session, network, batches = trained(config)
        losses = []
        for batch in session.batches(batches):
            session.step(batch)
            if session.at_report:
                losses.append(session.metrics()["val_loss"])
        assert [result.value for result in told.results if result.trial == trial] == losses
        weights = torch.load(tmp_path / f"{config['width']}.pt", weights_only=True)
        assert weights.keys() == network.state_dict().keys()
        assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
        assert math.isfinite(losses[-1])


def test_callbacks_are_set_up_hear_every_result_when_it_arrives_and_the_end():
    """As Tune calls its own: a result of a trial at a time, in the order of the virtual clock."""
    heard, around = [], []

    class Hears(tune.Callback):
        def setup(self, stop=None, num_samples=None, total_num_samples=None, **_):
            around.append((num_samples, total_num_samples, len(heard)))

        def on_experiment_end(self, trials, **_):
            around.append((len(trials), len(heard)))

        def on_trial_result(self, iteration, trials, trial, result, **_):
            heard.append((result["timestamp"], trial.config["pace"], result["score"]))

    def train(config):
        for score in range(3):
            tune.report({"score": score})

    space = {"pace": tune.grid_search([2, 3])}
    settings = {"metric": "score", "mode": "min", "cluster": Cluster(workers=2), "callbacks": [Hears()]}
    simulate(train, space, seconds=lambda config, result: config["pace"], **settings)
    assert [told[:2] for told in sorted(heard)] == [(2, 2), (3, 3), (4, 2), (6, 2), (6, 3), (9, 3)]
    assert [stamp for stamp, *_ in heard] == sorted(stamp for stamp, *_ in heard)
    assert around == [(1, 2, 0), (2, 6)]
