"""Runs that go wrong: they go back, cut the learning rate, say so, and never go round in circles."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession, Settings
from ray_glocal.session.divergence import RestorePoint
from ray_glocal.session.tuning import EXPLOSION, MOST_ROLLBACKS

from .cases import LIVELY, QUIET, WAYS, Run, differences, drive, entropy, rows_of, windows

LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")
EVEN = windows(window=8, search_window=8, duty_cycle=0.125, report_every=50)
BRIEF = windows(window=4, search_window=4, duty_cycle=0.125)
CALM = replace(QUIET, duty_cycle=0.25, report_every=20)
both = pytest.mark.parametrize("told", WAYS.values(), ids=WAYS)
DECAY = Hyperparameter("weight_decay", 1e-3, 1e-6, 0.1, "log")


def failing(bad, factor=math.nan, hyper=(LR, DECAY), total=100, settings=LIVELY):
    """A run whose training loss is multiplied by `factor` at some steps."""
    run = Run(total=total, settings=settings)
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1, weight_decay=1e-3)
    run.calls = 0

    def loss(model, batch):
        scale = factor if run.session.step_count in bad else 1.0
        return F.cross_entropy(model(batch[0]), batch[1]) * scale

    run.train = loss
    run.session = run.session(hyper=hyper)
    return run, run.session


def retreats(session):
    return [row for row in rows_of(session) if row["gate"] == "roll back"]


def test_a_loss_that_is_not_a_number_goes_back_and_cuts_the_rate():
    run, session = failing(bad={33}, settings=CALM)
    reports = drive(session, session.batches(run.loader))
    told = retreats(session)
    assert [row["step"] for row in told] == [40, 40]
    lr, decay = told
    assert lr["hyperparameter"] == "lr"
    assert lr["reason"].startswith("the training loss is not finite: back to the weights of step 32, lr ")
    assert lr["reason"].endswith("roll-back 1 of at most 12")
    assert math.isnan(lr["local"])
    assert decay["hyperparameter"] == "weight_decay"
    assert lr["value"] == pytest.approx(0.1 * CALM.cut)
    assert all(math.isfinite(report["val_loss"]) for report in reports)
    assert reports[-1]["rollbacks"] == 1
    assert all(bool(torch.isfinite(p).all()) for p in run.model.parameters())


@both
def test_going_back_restores_weights_buffers_and_optimizer_state(told):
    run = Run("adamw", settings=told)
    session = run.session()
    drive(session, session.batches(run.loader), 20)
    problem, values = session.problem, session.values
    point = RestorePoint.take(problem, 20, 1.0, values)
    kept = [p.detach().clone() for p in run.model.parameters()], [b.clone() for b in run.model.state_dict().values()]
    state = {k: {n: v.clone() for n, v in s.items()} for k, s in run.optimizer.state_dict()["state"].items()}
    groups = run.optimizer.param_groups
    drive(session, session.batches(run.loader), 25)
    run.optimizer.param_groups[0]["lr"] = 0.5
    for _ in range(2):  # and a second time from the same point
        assert point.distance(problem) >= 0
        point.apply(problem)
        assert point.distance(problem) == 0
        now = [p.detach() for p in run.model.parameters()], list(run.model.state_dict().values())
        assert differences(kept, now) == []
        assert differences(state, run.optimizer.state_dict()["state"]) == []
        assert run.optimizer.param_groups is groups, "whoever holds the groups still does"
        assert groups[0]["lr"] == 0.5, "options are not the point's business"
        session.step(next(iter(run.loader)))
        run.optimizer.param_groups[0]["lr"] = 0.5


def test_a_jump_of_the_training_loss_goes_back():
    run, session = failing(bad=set(range(33, 40)), factor=60.0, settings=CALM)
    drive(session, session.batches(run.loader))
    assert retreats(session)[0]["reason"].startswith("the training loss jumped from ")


def test_a_jump_of_the_validation_loss_goes_back():
    """One step that the next look at the training loss would see later: a window sees the damage first."""
    run, session = failing(bad={})
    batches = session.batches(run.loader)
    drive(session, batches, 45)
    with torch.no_grad():
        run.model.last.bias += torch.tensor([40.0, 0.0, 0.0])
    drive(session, batches, 48)
    told = retreats(session)
    assert [row["step"] for row in told] == [48, 48]
    assert told[0]["reason"].startswith("the training loss jumped")
    run, session = failing(bad={}, settings=windows(window=6, search_window=6, duty_cycle=0.5, report_every=10))
    batches = session.batches(run.loader)
    drive(session, batches, 49)
    with torch.no_grad():
        run.model.last.bias += torch.tensor([40.0, 0.0, 0.0])
    reports = drive(session, batches, 50)
    assert retreats(session)[0]["reason"].startswith("the validation loss jumped from ")
    assert reports[0]["val_loss"] < 2, "what is reported is the state that training goes on from"


def test_an_exploded_hypergradient_goes_back():
    run, session = failing(bad={})
    drive(session, session.batches(run.loader), 40)
    guard = session._guard
    assert guard.exploded(torch.tensor([0.1, -0.2]).numpy(), 1.0) == ""
    sentence = guard.exploded(torch.tensor([0.1, -1.1 * EXPLOSION]).double().numpy(), 1.0)
    assert sentence == "the local hypergradient exploded: 3.3 times the loss per unit of its coordinate"
    assert guard.exploded(torch.tensor([math.nan]).numpy(), 1.0) == "the local hypergradient is not finite"
    assert guard.exploded(torch.tensor([1e-4]).numpy(), -1e-9) == "", "beside a loss that crosses zero"


def chaotic(hyper, total=60):
    """Beyond the edge of stability of a double well: bounded, and sensitive beyond all use."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(0.4)

    def loss(model, batch):
        w = model.weight
        return ((w**2 - 1) ** 2 / 4).sum() + 0.05

    optimizer = torch.optim.SGD(model.parameters(), lr=1.9)
    settings = windows(window=12, search_window=12, duty_cycle=1.0, report_every=20, jump=1e6)
    return GlocalSession(
        model, optimizer, loss, loss, val_batches=[0], hyper=hyper, total_steps=total, settings=settings
    )


def test_a_jump_is_blamed_on_the_rate_that_was_run_with(monkeypatch):
    """Not on the one that the outer step of the same moment has chosen, which has not taken a step yet."""
    run, session = failing(bad={}, settings=replace(CALM, report_every=32))
    batches = session.batches(run.loader)
    drive(session, batches, 63)
    assert float(session.values["lr"]) == 0.1

    def respond(*_):
        session._course.set_values({**session.values, "lr": session.values["lr"] / 4})
        with torch.no_grad():
            run.model.last.bias += torch.tensor([40.0, 0.0, 0.0])

    monkeypatch.setattr(session._adaptation, "respond", respond)
    drive(session, batches, 64)
    assert retreats(session)[0]["reason"].startswith("the validation loss jumped")
    assert float(session.values["lr"]) == pytest.approx(0.05)


def test_after_a_search_that_moved_training_begins_anew():
    """With the first weights and buffers, and half the rate that the search ended with."""
    run = Run("sgd", settings=windows(window=8, search_window=6, duty_cycle=0.125), total=1000)
    session = run.session()
    first = copy.deepcopy(run.model.state_dict())
    stream = session.batches(run.loader)
    while not any(row["gate"] == "restart" for row in rows_of(session)):
        session.step(next(stream))
    rows = [row for row in rows_of(session) if row["hyperparameter"] == "lr"]
    ended = float(rows[-2]["reason"].split("moves to ")[1]) if "moves to" in rows[-2]["reason"] else rows[-2]["value"]
    assert rows[-1]["value"] == float(session.values["lr"]) == pytest.approx(ended / 2, rel=1e-3)
    now = run.model.state_dict()
    assert all(torch.equal(first[name], now[name]) for name in first)
    assert not run.optimizer.state
    assert not session.metrics()["searching"]
    assert session.metrics()["rollbacks"] == 0


def test_a_search_that_did_not_move_costs_nothing():
    run = Run("sgd", settings=QUIET, total=1000)
    session = run.session()
    drive(session, session.batches(run.loader), 60)
    assert not session.metrics()["searching"]
    assert {row["gate"] for row in rows_of(session)} == {"hold"}


def test_training_in_chaos_is_brought_back():
    session = chaotic([Hyperparameter("lr", 1.9, 1e-3, 3.0, "log")])
    drive(session, session.batches([0]))
    assert "the local hypergradient exploded" in retreats(session)[0]["reason"]
    assert session.metrics()["val_loss"] == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize("told", [BRIEF, replace(WAYS["first-order"], window=4)], ids=WAYS)
def test_without_a_rate_to_cut_nothing_goes_round_in_circles(told):
    run, session = failing(bad=set(range(30, 100)), hyper=(DECAY,), settings=told)
    reports = drive(session, session.batches(run.loader))
    assert session.done
    assert len(reports) >= 1
    assert session.metrics()["rollbacks"] <= MOST_ROLLBACKS
    assert math.isfinite(float(session.values["weight_decay"]))
    assert all(math.isfinite(g["weight_decay"]) for g in run.optimizer.param_groups)


def test_a_run_that_cannot_go_back_keeps_its_hyperparameters_and_says_why_it_holds():
    """From the first step on there is nothing but NaN, and no rate to cut."""
    run, session = failing(bad=set(range(100)), hyper=(DECAY,))
    drive(session, session.batches(run.loader))
    rows = rows_of(session)
    assert rows
    assert {row["gate"] for row in rows} == {"hold"}
    assert all(row["reason"].startswith("no usable forecast: ") for row in rows)
    assert float(session.values["weight_decay"]) == 1e-3
    assert session.metrics()["potential"] == 0


@both
def test_roll_backs_are_limited(told):
    lr = Hyperparameter("lr", 0.1, 1e-9, 1.0, "log")
    run, session = failing(bad=set(range(120)), total=120, hyper=(lr,), settings=told)
    drive(session, session.batches(run.loader))
    assert session.metrics()["rollbacks"] == MOST_ROLLBACKS
    told = [row for row in retreats(session) if row["hyperparameter"] == "lr"]
    assert len(told) == MOST_ROLLBACKS
    assert told[-1]["reason"].endswith("roll-back 12 of at most 12")
    (warning,) = (text for text in session.notices.texts if "went back" in text)
    assert warning.startswith("Training went back to good weights 12 times, as often as it may, and is in trouble")
    assert float(session.values["lr"]) == pytest.approx(0.1 * LIVELY.cut**MOST_ROLLBACKS)


@both
def test_a_rate_at_its_bound_is_not_cut_again(told):
    lr = Hyperparameter("lr", 0.1, 0.09, 1.0, "log")
    run, session = failing(bad=set(range(60)), total=60, hyper=(lr,), settings=told)
    drive(session, session.batches(run.loader))
    assert session.metrics()["rollbacks"] == 1
    assert float(session.values["lr"]) == 0.09


def test_a_collapse_returns_to_the_first_weights():
    """A learning rate of one kills the network in its first window; the run ends alive."""
    run = Run(total=300, settings=EVEN, start={"lr": 8.0})
    session = run.session(hyper=[Hyperparameter("lr", 8.0, 1e-4, 10.0, "log")])
    reports = drive(session, session.batches(run.loader))
    told = retreats(session)
    assert told
    assert any("back to the weights of step 0" in row["reason"] for row in told)
    assert all(math.isfinite(report["val_loss"]) for report in reports)
    assert reports[-1]["val_loss"] < 0.8
    assert float(session.values["lr"]) < 8.0


@pytest.mark.parametrize("told", [windows(), Settings()], ids=WAYS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_starting_from_one_ends_finite_and_learned(scale, told):
    """Plain SGD on a network without normalisation, inputs small and large."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    run = Run(dtype=torch.float32)
    batches = [(x * scale, y) for x, y in run.loader]

    session = GlocalSession(
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        entropy,
        entropy,
        val_batches=batches,
        hyper=[Hyperparameter("lr", 1.0, 1e-8, 1.0, "log")],
        total_steps=600,
        settings=told,
    )
    drive(session, session.batches(batches))
    assert math.isfinite(session.metrics()["val_loss"])
    assert session.metrics()["val_loss"] < 0.9


def test_a_session_without_a_positive_loss_holds_and_says_so():
    model = nn.Linear(1, 1)

    def loss(model, batch):
        return (model.weight**2).sum() - 5.0

    session = GlocalSession(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01),
        loss,
        loss,
        val_batches=[0],
        hyper=[LR],
        total_steps=60,
        settings=LIVELY,
    )
    drive(session, session.batches([0]))
    assert {row["gate"] for row in rows_of(session)} == {"hold"}
    assert rows_of(session)[0]["reason"].startswith("no usable forecast: of a loss of -")
    assert session.metrics()["rollbacks"] == 0
