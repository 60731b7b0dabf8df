"""A weight decay that kills a network is cut, and not the learning rate; and training begins anew."""

import math
from dataclasses import replace

import pytest
import torch

from ray_glocal import GlocalSession
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session.divergence import Guard, RestorePoint
from ray_glocal.session.first_order.beginning import Beginning
from ray_glocal.session.tuning import LEARNED, RELIEF, SHRUNK

from ..cases import differences
from .sessions import CALM, CLASSES, TOTAL, rate, session, train_on

REPORTING = replace(CALM, report_every=50)


def decay(start):
    return Hyperparameter("weight_decay", start, 1e-6, 10.0, "log")


def heavy(start, *, adapted=True, settings=REPORTING):
    hyper = (rate(), decay(start)) if adapted else (rate(),)
    return session(hyper, options={"weight_decay": start, "momentum": 0.5}, settings=settings)


@pytest.mark.parametrize("start", [2.0, 5.0])
def test_a_network_that_weight_decay_has_killed_begins_anew_with_less(start):
    dead = train_on(heavy(start, adapted=False)).metrics()["val_loss"]
    assert dead > (1 - LEARNED) * math.log(CLASSES), "otherwise this would show nothing"
    trained = train_on(heavy(start))
    assert trained.metrics()["val_loss"] < 0.5 * dead
    began = [row for row in trained.trace.rows if row.gate == "restart"]
    assert began
    assert began[0].reason.startswith("the weights have shrunk to 0.")
    assert began[0].reason.endswith("back to the first weights, with less weight decay")
    assert trained.metrics()["rollbacks"] == len(began) / 2, "a row for each of two hyperparameters"
    assert trained.metrics()["hyper/weight_decay"] <= RELIEF * start


def test_the_search_begins_anew_too():
    trained = train_on(heavy(5.0))
    anew = max(row.step for row in trained.trace.rows if row.gate == "restart")
    raised = [row for row in trained.trace.rows if row.step > anew and "the search raises it" in row.reason]
    assert raised
    assert raised[0].hyperparameter == "lr"


def test_a_session_saved_between_the_death_and_the_end_goes_on_the_same(tmp_path):
    whole = train_on(heavy(5.0))
    half = train_on(heavy(5.0), 100)
    assert any(row.gate == "restart" for row in half.trace.rows)
    half.save(tmp_path)
    again = heavy(5.0)
    again.restore(tmp_path)
    train_on(again)
    assert differences(dict(whole.values), dict(again.values)) == []
    pairs = zip(whole.problem.parameters, again.problem.parameters, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def guard_of(trained: GlocalSession, loss: float) -> Guard:
    guard = Guard(CALM)
    guard.keep(RestorePoint.take(trained.problem, 0, loss, trained.values))
    return guard


def scaled(trained, factor):
    with torch.no_grad():
        for parameter in trained.problem.parameters:
            parameter.mul_(factor)


def test_what_counts_as_starved():
    trained = heavy(1.0)
    guard = guard_of(trained, 2.0)
    scaled(trained, SHRUNK + 0.01)
    assert guard.starved(2.0, trained.problem) == ""
    scaled(trained, 0.5)
    told = "the weights have shrunk to 0.35 of their length, and the loss, 2, is no better"
    assert guard.starved(2.0, trained.problem) == told
    assert guard.starved(2.0 * (1 - LEARNED) - 0.01, trained.problem) == "", "it has learned something"
    guard.learned = True
    assert guard.starved(2.0, trained.problem) == ""


@pytest.mark.parametrize(("factor", "blamed"), [(1.0, "lr"), (3.0, "lr"), (0.5, "weight_decay")])
def test_a_retreat_blames_the_weight_decay_where_weights_have_shrunk_and_else_the_rate(factor, blamed):
    trained = heavy(1.0)
    guard = guard_of(trained, 2.0)
    scaled(trained, factor)
    found = guard.retreat(trained.problem, trained.values, to_first=False)
    assert found is not None
    assert found.blamed == (blamed,)
    cut = {"lr": CALM.cut, "weight_decay": RELIEF}[blamed]
    assert float(found.values[blamed]) == pytest.approx(cut * float(trained.values[blamed]))
    assert f"{blamed} " in found.sentence
    other = {"lr": "weight_decay", "weight_decay": "lr"}[blamed]
    assert torch.equal(found.values[other], trained.values[other])


def test_a_new_weight_decay_would_shrink_the_weights_to_no_less_than_an_e_th_in_what_is_left():
    """In plain numbers: weights that shrink by a factor each step, and the decay is what that factor comes from."""
    trained = heavy(1.0)
    passed, kept = 40, 0.9
    began = Beginning(10, dict(trained.values))
    again = began.relieved(trained.problem, 10 + passed, TOTAL, kept**passed)
    assert again is not None
    assert again.step == 10 + passed
    factor = float(again.values["weight_decay"]) / 1.0
    assert factor < RELIEF
    left = kept ** (factor * (TOTAL - 10 - passed))
    assert left == pytest.approx(1 / math.e)


def test_nothing_begins_anew_where_no_weight_decay_is_adapted_or_it_is_at_its_bound():
    trained = heavy(1.0, adapted=False)
    assert Beginning(0, dict(trained.values)).relieved(trained.problem, 50, TOTAL, 0.1) is None
    bound = heavy(1e-6)
    assert Beginning(0, dict(bound.values)).relieved(bound.problem, 50, TOTAL, 0.1) is None
