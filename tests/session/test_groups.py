"""One hyperparameter for several parameter groups: ratios are kept, and derivatives are right."""

import math

import pytest
import torch

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter

from .cases import WAYS, entropy, windows
from .first_day import batches, network, session_of

EXACT = windows(window=8, search_window=8, duty_cycle=1.0, engine="adjoint", act=1e9, act_small=1e9, heat=0)


def grouped(kind, model, rates=None, lr=None):
    scale = 0.1 if kind is torch.optim.AdamW else 1.0  # whose steps are longer
    rates, lr = rates or (scale * 1e-3, scale * 0.1), lr or scale * 0.01
    layers = [list(model[0].parameters()), list(model[-1].parameters())]
    groups = [{"params": layer, "lr": rate} for layer, rate in zip(layers, rates, strict=True)]
    return kind(groups, lr=lr)


def whole_loop(kind, factor, name="lr", steps=8):
    """The mean validation loss after a plain loop whose groups all have their option times a factor."""
    model = network()
    optimizer = grouped(kind, model)
    if name == "weight_decay":
        for group, own in zip(optimizer.param_groups, (0.3, 0.0), strict=True):
            group["weight_decay"] = own
    for group in optimizer.param_groups:
        group[name] *= factor
    for batch in batches()[:steps]:
        optimizer.zero_grad()
        entropy(model, batch).backward()
        optimizer.step()
    return model, entropy(model, batches()[8]).item()


@pytest.mark.parametrize("which", ["the default", "the first group's", "the last one's"])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_one_rate_keeps_the_ratio_of_the_groups_and_has_the_right_derivative(kind, which):
    model = network()
    optimizer = grouped(kind, model)
    rates = [group["lr"] for group in optimizer.param_groups]
    start = {"the default": optimizer.defaults["lr"], "the first group's": rates[0], "the last one's": rates[1]}[which]
    hyper = [Hyperparameter("lr", start, 1e-6, 10.0, "log")]
    session = session_of(model, optimizer, hyper, 100, EXACT, val_batches=[batches()[8]])
    assert [group["lr"] for group in optimizer.param_groups] == rates
    for batch in batches()[:8]:
        session.step(batch)
    plain, _ = whole_loop(kind, 1.0)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))
    step = 1e-4
    right = (whole_loop(kind, math.exp(step))[1] - whole_loop(kind, math.exp(-step))[1]) / (2 * step)
    assert session.trace.rows[0].local == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("engine", ["adjoint", "forward"])
def test_weight_decay_spares_the_group_that_has_none(engine):
    model = network()
    optimizer = grouped(torch.optim.AdamW, model)
    for group, own in zip(optimizer.param_groups, (0.3, 0.0), strict=True):
        group["weight_decay"] = own
    hyper = [Hyperparameter("weight_decay", 0.3, 1e-6, 10.0, "log")]
    settings = windows(window=8, duty_cycle=1.0, engine=engine, act=1e9, act_small=1e9)
    session = session_of(model, optimizer, hyper, 100, settings, val_batches=[batches()[8]])
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    for batch in batches()[:8]:
        session.step(batch)
    losses = [whole_loop(torch.optim.AdamW, math.exp(step), "weight_decay")[1] for step in (1e-4, -1e-4)]
    assert session.trace.rows[0].local == pytest.approx((losses[0] - losses[1]) / 2e-4, abs=1e-6)
    session._course.set_values({"weight_decay": torch.tensor(0.6, dtype=torch.float64)})
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.6, 0.0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schedule", [False, True])
def test_ratios_outlive_outer_steps_retreats_and_checkpoints(tmp_path, schedule, way):
    def new():
        model = network()
        optimizer = grouped(torch.optim.SGD, model)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100) if schedule else None
        return session_of(model, optimizer, total=100, settings=WAYS[way], lr_scheduler=scheduler), optimizer

    session, optimizer = new()
    seen = set()
    for index in range(40):
        session.step(batches()[index % 8])
        low, high = (group["lr"] for group in optimizer.param_groups)
        assert high == pytest.approx(100 * low)
        seen.add(float(session.values["lr"]))
    assert len(seen) > 1
    assert session._adaptation.retreat("the test says so", to_first=True)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(100 * optimizer.param_groups[0]["lr"])
    session.save(tmp_path)
    again, other = new()
    again.restore(tmp_path)
    for index in range(20):
        for each in (session, again):
            each.step(batches()[index % 8])
        assert [g["lr"] for g in other.param_groups] == [g["lr"] for g in optimizer.param_groups]


def test_groups_with_one_rate_take_the_value_itself():
    model = network()
    optimizer = grouped(torch.optim.SGD, model, rates=(0.5, 0.5))
    session_of(model, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01]


@pytest.mark.parametrize(
    ("rates", "start"), [((1e-3, 0.1), 0.05), ((0.3, 0.1), 0.2), ((0.0, 0.1), 1e-3)], ids=["a", "b", "c"]
)
def test_ratios_that_cannot_be_known_are_refused_by_the_way_out(rates, start):
    model = network()
    optimizer = grouped(torch.optim.SGD, model, rates)
    told = ", ".join(f"{rate:g}" for rate in (*rates, 0.01))
    text = (
        f"`start` must be above zero and one of the optimizer's own for 'lr', whose groups have different ones; got "
        rf"{start}. Start at one of {told}: the groups keep their ratios. Or give each group a hyperparameter of its "
        r"own: `Hyperparameter\('lr_0', ..., field='lr', groups=\(0,\)\)`."
    )
    with pytest.raises(ArgumentError, match=text):
        session_of(model, optimizer, [Hyperparameter("lr", start, 1e-5, 1.0, "log")])


def test_other_options_that_differ_are_said_to_become_one():
    model = network()
    optimizer = grouped(torch.optim.SGD, model)
    for group, own in zip(optimizer.param_groups, (0.9, 0.0), strict=True):
        group["momentum"] = own
    momentum = Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit")
    assert session_of(model, optimizer, [momentum]).notices.texts == (
        "'momentum' sets parameter groups that have different values, 0.9, 0: all begin at 0.5. Give it those that it "
        "is meant for by `groups=`.",
    )
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert session_of(network(), hyper=[momentum]).notices.texts == ()
