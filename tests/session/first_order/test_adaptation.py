"""Whole small sessions: what first-order adaptation comes to, and what it says on the way."""

import logging
import math
from contextlib import nullcontext
from itertools import pairwise

import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession, Settings
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.first_order.search import WAITS
from ray_glocal.session.first_order.tuning import GROWTH, SEARCH_MOST

from .sessions import (
    CALM,
    GATES,
    SOURCES,
    TOTAL,
    Network,
    by_source,
    evaluated,
    held_out,
    plain_loss,
    rate,
    session,
    train_on,
    without_session,
)

KINDS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9}, (1e-3, 1e-2, 0.1, 1.0)),
    "adamw": (torch.optim.AdamW, {}, (1e-4, 1e-3, 1e-2, 0.1)),
}
SCHEDULES = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, TOTAL),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-4, TOTAL, cycle_momentum=False),
}


@pytest.fixture(scope="module")
def best():
    """The lowest loss of a small grid of rates, by optimizer."""
    return {k: min(without_session(kind, lr, told) for lr in grid) for k, (kind, told, grid) in KINDS.items()}


def read(session, name):
    return [row for row in session.trace.rows if row.hyperparameter == name]


def check_rows(session):
    """Every row says what was decided and why; every step's rows are of all hyperparameters."""
    rows = session.trace.rows
    assert rows
    assert {row.gate for row in rows} <= GATES
    assert all(row.reason.strip() for row in rows)
    assert [row.step for row in rows] == sorted(row.step for row in rows)
    shown = {row.hyperparameter for row in rows}
    assert all(row.value > 0 for row in rows)
    assert all(sum(row.hyperparameter == name for row in rows) == len(rows) / len(shown) for name in shown)


@pytest.mark.parametrize("start", [1e-4, 1.0])
@pytest.mark.parametrize("name", KINDS)
def test_from_a_rate_far_too_low_or_too_high_it_ends_near_the_best_of_a_grid(name, start, best):
    kind, options, _ = KINDS[name]
    trained = train_on(session((rate(start),), kind, options=options))
    assert trained.metrics()["val_loss"] < 1.5 * best[name]
    assert not trained.notices.texts
    check_rows(trained)


@pytest.mark.parametrize("name", KINDS)
def test_where_the_rate_begins_is_nothing_to_the_search(name):
    """The probe says where it begins; and from there it goes up by the same factor as long as it lasts."""
    kind, options, _ = KINDS[name]
    low, high = (train_on(session((rate(start),), kind, options=options), 60) for start in (1e-4, 1.0))
    later, alike = ([row.value for row in trained.trace.rows if row.step] for trained in (low, high))
    assert later == pytest.approx(alike)
    rows = [row for row in low.trace.rows if "the search raises it" in row.reason]
    assert len(rows) >= 2
    assert all(row.step <= SEARCH_MOST * TOTAL for row in rows)
    for before, after in pairwise(rows):
        assert after.value == pytest.approx(GROWTH * before.value)
        assert after.step - before.step == CALM.search_window
    assert sum("the search ends" in row.reason for row in low.trace.rows) == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", KINDS)
def test_beneath_a_schedule_it_ends_near_the_best_of_a_grid(name, schedule, best):
    kind, options, _ = KINDS[name]
    trained = train_on(session(kind=kind, options=options, schedule=SCHEDULES[schedule]))
    assert trained.metrics()["val_loss"] < 1.5 * best[name]
    check_rows(trained)
    late = [row for row in trained.trace.rows if row.step >= TOTAL / 2]
    assert {row.gate for row in late} == {"hold"}
    assert len({row.value for row in late}) == 1
    assert all("left alone in the last part" in row.reason for row in late)


def test_two_rates_are_found_together(best):
    model = Network()
    groups = [{"params": model.first.parameters(), "lr": 1e-4}, {"params": model.last.parameters(), "lr": 1e-4}]
    optimizer = torch.optim.SGD(groups)
    hyper = (
        Hyperparameter("lr", 1e-4, 1e-6, 30.0, "log", groups=(0,)),
        Hyperparameter("head", 1e-4, 1e-6, 30.0, "log", field="lr", groups=(1,)),
    )
    trained = GlocalSession(
        model, optimizer, plain_loss, plain_loss, hyper=hyper, total_steps=TOTAL, settings=CALM,
        val_batches=held_out(),
    )  # fmt: skip
    train_on(trained)
    assert trained.metrics()["val_loss"] < 1.5 * best["sgd"]
    check_rows(trained)


@pytest.mark.parametrize(("name", "start"), [("sgd", 0.3), ("adamw", 10.0)])
def test_a_weight_decay_far_too_large_comes_down(name, start):
    kind = KINDS[name][0]
    trained = train_on(session((rate(), Hyperparameter("weight_decay", start, 1e-6, 100.0, "log")), kind))
    assert trained.metrics()["hyper/weight_decay"] < start / 5
    moved = read(trained, "weight_decay")
    searching = [row for row in moved if row.reason.startswith("waits until")]
    assert searching
    assert all(row.gate == "hold" for row in searching)
    others = [row for row in moved if row not in searching and row.gate not in ("go back", "restart")]
    assert all(row.reason.startswith("elasticity ") for row in others)
    check_rows(trained)


def test_momentum_is_held():
    hyper = (rate(), Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"))
    trained = train_on(session(hyper, options={"momentum": 0.9}), 150)
    assert {row.value for row in read(trained, "momentum")} == {0.9}
    told = read(trained, "momentum")[-1]
    assert told.gate == "hold"
    assert told.reason.startswith("held: of a decay rate")


@pytest.mark.parametrize(
    "weights",
    [
        Hyperparameter("weights", torch.ones(SOURCES), 1e-3, 10.0, "log"),
        Hyperparameter("weights", torch.full((SOURCES,), 1 / SOURCES), scale="simplex"),
    ],
    ids=["log", "simplex"],
)
def test_sources_with_random_labels_come_down_below_the_clean_ones(weights):
    trained = train_on(session((rate(), weights), train=by_source), noisy=True)
    found = trained.values["weights"]
    assert float(found[SOURCES // 2 :].max()) < 0.2 * float(found[: SOURCES // 2].min())
    check_rows(trained)


@pytest.mark.parametrize("cut", [lambda value: value.item(), lambda value: value.detach()], ids=["item", "detach"])
def test_what_a_loss_reads_without_its_derivative_is_said_to_be_cut_off(cut):
    def loss(model, batch, hyper):
        return plain_loss(model, batch) * cut(hyper["factor"])

    trained = train_on(session((rate(), Hyperparameter("factor", 1.0, 0.1, 10.0, "log")), train=loss), 100)
    assert trained.notices.said("no effect of factor")
    assert "cut it off" in trained.metrics()["warning"]
    assert float(trained.values["factor"]) == 1.0


def test_what_a_loss_reads_as_it_is_is_not_said_to_be_cut_off():
    def loss(model, batch, hyper):
        return plain_loss(model, batch) + hyper["penalty"] * sum(p.square().sum() for p in model.parameters())

    trained = train_on(session((rate(), Hyperparameter("penalty", 0.1, 1e-6, 10.0, "log")), train=loss))
    assert not trained.notices.texts
    assert float(trained.values["penalty"]) < 0.05


def density(model, batch):
    """A Gaussian's negative log likelihood of what is known to a hundredth: far below zero."""
    out = model(batch[0])
    deviation = 0.01 + nn.functional.softplus(out[:, 1])
    return (deviation.log() + 0.5 * ((0.3 * batch[0][:, 0] - out[:, 0]) / deviation).square()).mean()


def test_a_loss_that_is_negative_works():
    trained = train_on(session(kind=torch.optim.AdamW, train=density, val=density))
    end = trained.metrics()
    assert end["val_loss"] < -0.5
    assert end["val_loss"] == pytest.approx(evaluated_at_averages(trained, density), rel=1e-6)
    assert end["potential"] >= 0
    seen = [row for row in trained.trace.rows if "search raises" in row.reason]
    assert seen
    assert all(math.isfinite(row.local) and row.forecast * row.local >= 0 for row in seen)
    check_rows(trained)


def evaluated_at_averages(trained, loss=plain_loss):
    with trained.averaged_weights():
        return evaluated(trained.problem.model, loss)


def test_accumulated_micro_batches_work_as_well(best):
    trained = train_on(session(accumulate=2))
    assert trained.metrics()["val_loss"] < 1.5 * best["sgd"]
    check_rows(trained)


def test_under_a_budget_it_works_as_well(best):
    trained = train_on(session(settings=Settings(overhead=0.5, report_every=50)))
    assert trained.metrics()["val_loss"] < 1.5 * best["sgd"]
    check_rows(trained)


def test_an_heir_does_not_search(tmp_path):
    parent = train_on(session(), 100)
    parent.save(tmp_path)
    hyper = (rate(float(parent.values["lr"])),)
    heir = session(Adapted(hyper, ancestor=Folder(tmp_path)))
    heir.restore(None)
    train_on(heir, 40)
    assert not any("search" in row.reason for row in heir.trace.rows)
    assert heir.trace.rows[0].value == float(parent.values["lr"]), "nor probes"
    assert heir.trace.rows[0].step == CALM.period
    fresh = train_on(session(Adapted(hyper)), 40)
    assert any("search" in row.reason for row in fresh.trace.rows)


class Folder:
    """A checkpoint as Tune hands it over, of which an heir takes the weights."""

    def __init__(self, path):
        self.path = path

    def as_directory(self):
        return nullcontext(str(self.path))


def test_without_a_rate_there_is_no_search_and_the_rest_adapts():
    hyper = (Hyperparameter("weight_decay", 0.3, 1e-6, 1.0, "log"),)
    trained = session(hyper)
    trained.problem.optimizer.param_groups[0]["lr"] = 0.3
    train_on(trained)
    assert trained.trace.rows[0].step == CALM.period
    assert float(trained.values["weight_decay"]) < 0.03
    assert trained.problem.optimizer.param_groups[0]["lr"] == 0.3


@pytest.mark.parametrize("thaws", [True, False])
def test_layers_that_thaw_or_freeze_are_followed(thaws):
    """What has thawed is averaged from then on, and what is frozen is differentiated no more."""
    model = Network()
    layer = model.first
    layer.requires_grad_(not thaws)
    trained = session(model=model)

    def change(step, batch):
        if step == 100:
            layer.requires_grad_(thaws)
        return batch

    train_on(trained, change=change)
    told = trained.metrics()["val_loss"]
    assert told < 1.2 * evaluated(model)
    assert told == pytest.approx(evaluated_at_averages(trained), rel=1e-6)
    check_rows(trained)


DECAY = Hyperparameter("weight_decay", 1e-3, 1e-6, 1.0, "log")
ALONE = (
    "Only the learning rate was adapted: its search took all {} hypergradients, and nothing was learned of "
    "weight_decay. Train longer, or raise `Settings(duty_cycle=...)`."
)


def test_a_training_whose_search_took_all_hypergradients_says_so_at_its_end():
    trained = train_on(session((rate(), DECAY), total_steps=12), 11)
    assert trained.notices.texts == ()
    trained = train_on(session((rate(), DECAY), total_steps=12))
    looks = {row.step for row in read(trained, "weight_decay") if math.isfinite(row.local)}
    assert {row.reason for row in read(trained, "weight_decay")} == {WAITS}
    assert trained.notices.texts == (ALONE.format(len(looks)),)
    assert float(trained.values["weight_decay"]) == 1e-3


MOMENTUM = Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit")
HELD = 'momentum stays at its start: decay rates are adapted by `Settings(hypergradients="windows")` alone.'


def test_momentum_is_not_said_to_be_adapted(caplog):
    caplog.set_level(logging.INFO)
    trained = train_on(session((rate(), MOMENTUM, DECAY), total_steps=12))
    (told,) = [text for text in caplog.messages if text.startswith("Adapts ")]
    assert told.startswith("Adapts lr, weight_decay: up to ")
    assert told.endswith(f" hypergradients in 12 steps. {HELD}")
    (alone,) = trained.notices.texts
    assert "nothing was learned of weight_decay. Train longer" in alone


def test_the_end_does_not_ask_for_more_hypergradients_where_nothing_but_momentum_is_left():
    assert train_on(session((rate(), MOMENTUM), total_steps=12)).notices.texts == ()


def test_a_session_of_momentum_alone_says_that_nothing_will_be_adapted():
    assert train_on(session((MOMENTUM,))).notices.texts == (f"Nothing will be adapted. {HELD}",)


def test_one_that_has_nothing_but_a_rate_to_adapt_or_has_looked_at_the_rest_says_nothing():
    assert train_on(session(total_steps=12)).notices.texts == ()
    assert train_on(session((rate(0.1), DECAY))).notices.texts == ()
