"""`validate` on networks that can be trusted and on some that cannot, and what it leaves untouched."""

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

import ray_glocal
from ray_glocal import Hyperparameter, Settings
from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Problem, record_window
from ray_glocal.session.adapted import Adapted
from ray_glocal.validation import validate
from ray_glocal.validation.data import drawn, factors_of

from .problems import ADAPTED, digest, loss, network, optimizer_of, plain, stream

QUICK = {"windows": 2, "futures": 2, "total_steps": 24, "settings": Settings(window=6)}


def run(model=None, name="sgd", **changed):
    model = model or network()
    told = {
        "train_batches": list(stream(0, 5)),
        "val_batches": list(stream(7, 2)),
        "hyper": [ADAPTED["lr"](0.1), ADAPTED["weight_decay"](0.1)],
        **QUICK,
        **changed,
    }
    optimizer = told.pop("optimizer", None) or optimizer_of(model, name)
    return validate(model, optimizer, told.pop("train_loss", loss), told.pop("val_loss", loss), **told)


def classes(seed, count):
    """Points on a plane, in four classes that turn around its centre."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 2, generator=generator)
    turns = (torch.atan2(points[:, 1], points[:, 0]) + 2 * points.norm(dim=1)) % (2 * math.pi)
    return points, (turns / (math.pi / 2)).long().clamp(0, 3)


def demonstration(activation, lr):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(2, 32), activation(), torch.nn.Linear(32, 32), activation(), torch.nn.Linear(32, 4)]
    model = torch.nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-3)
    hyper = [Hyperparameter("lr", lr, 1e-4, 10.0, "log"), Hyperparameter("weight_decay", 1e-3, 1e-6, 0.1, "log")]
    points, labels = classes(1, 640)
    train, val = list(zip(points.split(32), labels.split(32), strict=True)), [classes(2, 400)]
    return validate(model, optimizer, loss, loss, train_batches=train, val_batches=val, hyper=hyper, total_steps=120)


def test_a_smooth_network_can_be_trusted():
    found = demonstration(torch.nn.GELU, 0.03)
    print(found)  # noqa: T201 - shown by `pytest -rP`
    assert found.trustworthy
    assert {told.verdict for told in found.trust.values()} == {"trustworthy"}
    assert max(told.sizes for told in found.trust.values()) < 0.05


def test_a_network_of_kinks_at_a_high_learning_rate_cannot():
    found = demonstration(torch.nn.ReLU, 0.3)
    print(found)  # noqa: T201
    assert not found.trustworthy
    assert found.trust["lr"].verdict == "not trustworthy"
    assert "lower" in found.trust["lr"].sentence


def test_the_table_says_all_for_each_hyperparameter():
    found = run()
    text = str(found)
    lines = text.splitlines()
    assert lines[0] == "2 windows of 6 steps, each with 2 futures."
    header = "hyperparameter estimator sign cosine error coverage acted on sign acted on"
    assert " ".join(lines[1].split()) == header
    names = [Settings().forecaster, f"{Settings().forecaster},"]
    assert [line.split()[0] for line in lines[2:10]] == ["lr", "mean", *names, "weight_decay", "mean", *names]
    assert lines[10] == "Exact hypergradients against differences of real runs, 0.01, 0.001 to either side:"
    assert [line.split(":")[0] for line in lines[11:]] == ["lr", "weight_decay"]
    score = found.scores["lr"]["last"]
    truth = np.array([case.truth[0] for case in found.cases])
    local = np.array([case.lag[-1, 0] for case in found.cases])
    assert score.sign == np.mean(np.sign(truth) == np.sign(local))
    assert score.cosine == pytest.approx(truth @ local / np.linalg.norm(truth) / np.linalg.norm(local))
    assert score.error == pytest.approx(np.median(np.abs(local - truth) / np.abs(truth)))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_model_optimizer_and_generators_come_back_bit_for_bit(name):
    model = network()
    optimizer = optimizer_of(model, name)
    problem = Problem(model, optimizer, loss, loss, [ADAPTED["lr"](0.1)])
    record_window(problem, list(stream(3, 4)), (), problem.start_values())  # in the middle of a session
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    data = TensorDataset(torch.randn(40, 4, dtype=torch.float64), torch.randint(3, (40,)))
    loader = DataLoader(data, batch_size=8, shuffle=True)
    own = DataLoader(data, batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(5))
    before, plan = digest(problem), scheduler.state_dict()
    drawn_before = own.generator.get_state()
    run(model, optimizer=optimizer, train_batches=loader, val_batches=own, lr_scheduler=scheduler)
    assert digest(problem) == before
    assert scheduler.state_dict() == plan
    assert torch.equal(own.generator.get_state(), drawn_before)


def test_a_validation_repeats_and_depends_on_its_seed():
    first, again, other = (run(seed=seed) for seed in (1, 1, 2))
    assert str(first) == str(again)
    assert all(plain(a) == plain(b) for a, b in zip(first.cases, again.cases, strict=True))
    assert not np.allclose(first.cases[0].truths, other.cases[0].truths)


def test_settings_forecasters_and_horizon_are_heard():
    found = run(forecasters=["last", "affine"], horizon=9, windows=3, futures=1, step_sizes=(1e-3,))
    assert [*found.scores["lr"]] == ["last", "affine"]
    assert [case.remaining for case in found.cases] == [9, 9, 7]
    assert [case.start for case in found.cases] == [1, 9, 17]
    assert math.isnan(found.ceiling)
    for engine, rows in (("auto", 0), ("forward", 6)):
        assert len(run(settings=Settings(window=6, engine=engine)).cases[0].forward) == rows
    assert len(run(hyper=Adapted((ADAPTED["lr"](0.1),))).cases[0].forward) == 6  # one entry: forward by default


def test_many_entries_are_scored_as_one_hyperparameter():
    def weighted(model, batch, hyper):
        return (hyper["weights"][batch[1]] * F.cross_entropy(model(batch[0]), batch[1], reduction="none")).mean()

    weights = Hyperparameter("weights", torch.ones(3), 0.1, 10.0, "log")
    found = run(train_loss=weighted, hyper=[weights, ADAPTED["lr"](0.1)])
    assert found.scores["weights"]["last"].count == 6
    assert found.trust["weights"].verdict == "trustworthy"


def test_factors_are_those_of_the_scheduler():
    model = network()
    optimizer = optimizer_of(model, "sgd", lr=0.5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    problem = Problem(model, optimizer, loss, loss, [ADAPTED["lr"](0.1)])  # the adapted rate replaces the user's
    found = factors_of(scheduler, problem, 10)
    np.testing.assert_allclose(found, [[0.5 + 0.5 * math.cos(math.pi * step / 10)] for step in range(10)])
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert factors_of(None, problem, 10) is None


def test_orders_are_seeded_whether_or_not_the_loader_shuffles():
    data = TensorDataset(torch.arange(12))
    for loader in (list(torch.arange(12).split(2)), DataLoader(data, batch_size=2, shuffle=True)):
        torch.manual_seed(9)
        random.seed(9)
        first, again, other = ([torch.stack(list(b)) for b in drawn(loader, seed, 10)] for seed in (1, 1, 2))
        assert len(first) == 10
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
        assert sorted(torch.cat(first[:6]).flatten().tolist()) == list(range(12))


def test_a_name_that_nobody_reads_is_refused_at_once():
    def reading(model, batch, hyper):
        return loss(model, batch)

    with pytest.raises(ArgumentError, match="`hyper` must name what the optimizer or a loss uses; got 'smothing'"):
        run(train_loss=reading, hyper=[Hyperparameter("smothing", 0.1)])


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"windows": 0}, "`windows` must be at least 1; got 0"),
        ({"futures": 0}, "`futures` must be at least 1; got 0"),
        ({"total_steps": 7}, "`total_steps` must leave room for 2 windows of 6 steps"),
        ({"horizon": 6}, "`horizon` must be more than a window, 6 steps; got 6"),
        ({"forecasters": ["best"]}, "`name` must be one of last, "),
        ({"step_sizes": ()}, r"`step_sizes` must be positive; got \(\)"),
        ({"step_sizes": (1e-3, 0.0)}, r"`step_sizes` must be positive; got \(0.001, 0.0\)"),
        ({"val_batches": iter([1])}, "`val_batches` must be iterable more than once"),
        ({"val_batches": []}, "`val_batches` must hold at least one batch"),
        ({"train_batches": iter([1])}, "`train_batches` must be iterable more than once; got 'list_iterator'"),
        ({"train_batches": 3}, "`train_batches` must be iterable more than once; got 'int'"),
        ({"train_batches": []}, "`train_batches` must hold at least one batch"),
        ({"hyper": [ADAPTED["lr"](1e25)]}, "`hyper` must let training survive its first window"),
    ],
)
def test_arguments_that_cannot_be(changed, text):
    with pytest.raises(ArgumentError, match=text):
        run(**changed)


def test_it_lies_at_the_root():
    assert ray_glocal.validate is validate
