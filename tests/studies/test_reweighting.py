"""The study of data reweighting: its training sets, what watches them, weights by hand and as hyperparameters."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import reweighting
from study import study
from tasks import TASKS
from tasks.data import digits
from weighting import weights
from weighting.examples import Watched, long_tailed, relabelled
from weighting.training import Course


@pytest.fixture
def noisy():
    return relabelled(digits(), 0.4, 7)


def batch_of(examples, size=50):
    model = TASKS["digits-mlp"].model(0)
    return model, next(iter(Watched(examples.split.train, model, 0, size, watching=True)))


def values_of(weighting):
    return {hyper.name: hyper.value.float() for hyper in weighting.hyper}


def test_a_share_of_the_labels_is_drawn_anew(noisy):
    labels, given = digits().train[1], noisy.split.train[1]
    assert torch.equal(noisy.clean, labels == given)
    assert float((~noisy.clean).float().mean()) == pytest.approx(0.4 * 0.9, abs=0.04)
    wrong = given[~noisy.clean].bincount(minlength=10)
    assert wrong.min() > 0.5 * wrong.float().mean(), "any other label may come out"
    assert torch.equal(relabelled(digits(), 0.4, 7).split.train[1], given)
    assert not torch.equal(relabelled(digits(), 0.4, 8).split.train[1], given)
    assert noisy.split.val is digits().val, "validation stays clean"


def test_a_long_tail_falls_by_a_constant_factor():
    examples = long_tailed(digits(), 80, 20, 200, 3)
    counts = examples.counts.sort(descending=True).values
    assert (int(counts[0]), int(counts[-1])) == (80, 4)
    assert np.ptp(np.diff(np.log(counts.numpy()))) < 0.2
    assert set(examples.split.val[1].bincount().tolist()) == {20}
    with pytest.raises(ValueError, match="have fewer examples than"):
        long_tailed(digits(), 500, 20, 200, 3)


def test_validation_examples_can_be_lent_to_training(noisy):
    both, half = noisy.lent(1.0), noisy.lent(0.5)
    assert (len(both.clean), len(half.clean)) == (1400, 1200)
    assert both.clean[1000:].all()
    assert torch.equal(both.split.train[1][1000:], noisy.split.val[1])
    assert both.split.val is noisy.split.val
    assert torch.equal(torch.cat([half.split.train[1][1000:], half.split.val[1]]), noisy.split.val[1])


def test_the_network_judges_before_each_epoch_and_remembers(noisy):
    model = TASKS["digits-mlp"].model(0)
    inputs, labels = noisy.split.train
    logs = model(inputs).log_softmax(-1).detach()
    watched = Watched(noisy.split.train, model, 0, 50, watching=True)
    batches = list(watched)
    rows = torch.cat([batch.rows for batch in batches])
    assert torch.equal(rows.sort().values, torch.arange(1000))
    own = torch.cat([batch.judged[:, 0] for batch in batches])
    torch.testing.assert_close(own, logs[rows, labels[rows]])
    other = logs.masked_fill(F.one_hot(labels, 10) > 0, -torch.inf).amax(1)
    torch.testing.assert_close(watched.judged[:, 1], other)
    with torch.no_grad():
        model[3].bias += torch.arange(10.0)
    later = model(inputs).log_softmax(-1).detach().gather(1, labels[:, None])[:, 0]
    next(iter(watched))
    expected = 0.7 * logs.gather(1, labels[:, None])[:, 0] + 0.3 * later
    torch.testing.assert_close(watched.judged[:, 0], expected)
    assert not watched.judged[:, 2].any()
    next(iter(watched))
    order = watched.judged[:, 0].argsort(descending=True)
    torch.testing.assert_close(watched.judged[order, 2], torch.arange(1000) / 1000)
    assert not Watched(noisy.split.train, model, 0, 50, watching=False).judged.any()


@pytest.mark.parametrize("name", ["class_weights", "class_offsets", "example_weights", "weighting_network"])
def test_what_is_adapted_starts_from_the_plain_loss(noisy, name):
    model, batch = batch_of(noisy)
    weighting = getattr(weights, name)(noisy)
    values = values_of(weighting)
    hyper = weights.HyperValues(values)
    plain = F.cross_entropy(model(batch.inputs), batch.labels)
    tolerance = 0.02 if name == "weighting_network" else 1e-5  # its first weights are all about one half
    torch.testing.assert_close(weighting.loss(model, batch, hyper), plain, rtol=tolerance, atol=0)
    if weighting.weights is not None:
        assert torch.std(weighting.weights(hyper, batch)) < tolerance


def test_weights_by_hand(noisy):
    model, batch = batch_of(noisy)
    losses = F.cross_entropy(model(batch.inputs), batch.labels, reduction="none")
    clean = noisy.clean[batch.rows]
    oracle = weights.fixed(noisy.clean.float())(model, batch)
    torch.testing.assert_close(oracle, losses[clean].mean())
    torch.testing.assert_close(weights.trimmed(0.6)(model, batch), losses.mean(), msg="the first epochs keep all")
    ranked = batch._replace(judged=torch.rand(50, 3, generator=torch.Generator().manual_seed(0)))
    trimmed = weights.trimmed(0.6)(model, ranked)
    torch.testing.assert_close(trimmed, losses[ranked.judged[:, 2] < 0.6].mean())


def test_offsets_by_frequency_ask_more_of_the_rare():
    """Where the network knows the frequencies and nothing else, the loss is that of knowing nothing."""
    examples = long_tailed(digits(), 80, 20, 200, 3)
    _, batch = batch_of(examples, 20)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    torch.nn.init.zeros_(model[1].weight)
    torch.nn.init.zeros_(model[1].bias)
    shares = examples.counts / examples.counts.sum()
    expected = -shares[batch.labels].log().mean()
    torch.testing.assert_close(weights.frequency_offsets(examples)(model, batch), expected)


def test_the_interval_is_that_of_student():
    mean, half = reweighting.interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert np.isnan(reweighting.interval([1.0])[1])


def test_how_often_the_right_weigh_more():
    clean = torch.tensor([True, True, False, False])
    told = reweighting._told_apart(torch.tensor([1.0, 0.4, 0.4, 0.2]), clean)
    assert told == pytest.approx({"right": 0.7, "wrong": 0.3, "order": 3.5 / 4})
    assert reweighting._told_apart(None, clean)["order"] is None


def test_a_session_does_not_change_a_training_that_it_does_not_move(noisy):
    """With a gate that holds everything, the curve is that of plain training."""
    task = TASKS["digits-mlp"]
    plain = Course(task, noisy, 4, 0, watching=False).plain(weights.uniform)
    closed = replace(reweighting.WINDOWS, act=1e9, act_small=1e9)  # of first-order hypergradients there is no gate
    held = Course(task, noisy, 4, 0, watching=False).adapted(weights.class_offsets(noisy), closed, 4)
    assert held.curve == plain.curve
    assert set(held.values["class_offset"]) == {0.0}
    assert held.steps > plain.steps == 1


@pytest.mark.slow
def test_the_page_of_a_short_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reweighting.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    reweighting.main(study("reweighting", None))
    page = (tmp_path / "README.md").read_text()
    assert page.count("| ours: ") == 6
    assert "| oracle weights |" in page
    assert (tmp_path / "figure.png").exists()
