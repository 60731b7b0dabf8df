"""Training that is lost: the session goes back, says so, and takes rates no further up than is good for it."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session.first_order.tuning import CEILING

from .sessions import (
    CALM,
    CLASSES,
    GATES,
    SOURCES,
    TOTAL,
    by_source,
    clouds,
    evaluated,
    plain_loss,
    rate,
    session,
    train_on,
)

AT = 150  # between two observations


def lost(do, **told):
    """A session whose training something happens to before step 150."""
    trained = session(**told)

    def change(step, batch):
        return do(step, batch, trained)

    return train_on(trained, change=change)


def huge(step, batch, trained):
    """Labels and points as ever, but ten steps whose loss is beyond all measure."""
    return [batch[0], batch[1], batch[2] + 10 * (AT <= step < AT + 10)]


def faulty(model, batch):
    return plain_loss(model, batch) * (1e4 if batch[2].min() >= 10 else 1.0)


def beside(step, batch, trained):
    """A rate that somebody multiplies beside the session."""
    if step == AT:
        trained.problem.optimizer.param_groups[0]["lr"] *= 300
    return batch


def turned(step, batch, trained, factor=-20.0):
    """Weights that somebody overwrites."""
    if step == AT:
        with torch.no_grad():
            for parameter in trained.problem.parameters:
                parameter.mul_(factor)
    return batch


def broken(step, batch, trained):
    return turned(step, batch, trained, math.nan)


WAYS = {
    "a huge loss": (huge, {"train": faulty}, "jumped"),
    "a rate multiplied beside": (beside, {}, "jumped"),
    "weights turned around": (turned, {}, "jumped"),
    "weights that are no numbers": (broken, {}, "not finite"),
}


@pytest.mark.parametrize("way", WAYS)
def test_training_that_is_lost_goes_back_and_says_so(way):
    do, told, words = WAYS[way]
    trained = lost(do, **told)
    end = trained.metrics()
    back = [row for row in trained.trace.rows if row.gate == "roll back"]
    assert len(back) == end["rollbacks"] > 0
    assert min(row.step for row in back) >= AT
    assert words in back[0].reason
    assert "back to the weights of step 150" in back[0].reason
    before = [row for row in trained.trace.rows if row.step < AT][-1]
    assert back[0].value == pytest.approx(CALM.cut * float(before.reason.rpartition("moves to ")[2]), rel=1e-3)
    assert end["val_loss"] < 0.6
    assert {row.gate for row in trained.trace.rows} <= GATES
    assert all(row.reason for row in trained.trace.rows)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_weights_that_are_lost_are_not_kept_though_their_average_lags_behind(factor):
    """At the report after step 200 the averages hardly know yet what happened to the weights a step before."""

    def change(step, batch):
        with torch.no_grad():
            trained.problem.model.last.weight.mul_({199: factor, 200: math.nan}.get(step, 1.0))
        return batch

    trained = session()
    train_on(trained, 200, change=change)
    raw, averaged = evaluated(trained.problem.model), trained.metrics()["val_loss"]
    assert averaged < 0.6
    assert (raw > 3 * averaged) == (factor < 0)
    back = next(row for row in train_on(trained, change=change).trace.rows if row.gate == "roll back")
    assert (back.back_to == 200) == (factor > 0)


def test_a_rate_is_not_raised_again_to_where_training_was_lost():
    trained = lost(huge, train=faulty)
    last = max(place for place, row in enumerate(trained.trace.rows) if row.gate == "roll back")
    lowest = trained.trace.rows[last].value / CALM.cut * math.exp(-CEILING)
    after = [row.value for row in trained.trace.rows[last:]]
    assert len(after) > 5
    for before, later in pairwise(after):
        assert later <= max(before, lowest) * (1 + 1e-9)


def test_a_retreat_in_the_search_ends_it():
    def early(step, batch, trained):
        return [batch[0], batch[1], batch[2] + 10 * (8 <= step < 16)]

    trained = lost(early, train=faulty)
    back = next(row for row in trained.trace.rows if row.gate == "roll back")
    assert back.step == 16
    later = [row.reason for row in trained.trace.rows if row.step > 16]
    assert later
    assert not any("the search" in reason for reason in later)
    assert trained.metrics()["val_loss"] < 0.6


def test_the_search_goes_back_over_its_last_rise():
    """Where the last rate of the search left a higher loss, training goes on from where it was lowest."""
    trained = train_on(session(kind=torch.optim.AdamW, schedule=one_cycle), 60)
    back = [row for row in trained.trace.rows if row.gate == "go back"]
    assert len(back) == 1
    ended = next(row for row in trained.trace.rows if "the search ends" in row.reason)
    assert back[0].step == ended.step
    assert back[0].reason.startswith("the search is over: back to where the loss was")
    assert back[0].value == pytest.approx(float(ended.reason.rpartition("moves to ")[2]), rel=1e-3)
    assert trained.metrics()["rollbacks"] == 0


def one_cycle(optimizer):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-4, TOTAL, cycle_momentum=False)


def test_a_hypergradient_that_is_no_number_leads_back():
    def loss(model, batch):
        """Its own value is finite, and its gradient is not, for a while."""
        value = plain_loss(model, batch)
        state = sum(p.detach().sum() for p in model.parameters())
        return value + torch.where(value < 0.5, (value - value.detach()).abs().sqrt(), 0 * state)

    trained = train_on(session(val=loss), 120)
    back = [row for row in trained.trace.rows if row.gate == "roll back"]
    assert back
    assert all("a hypergradient is not finite" in row.reason for row in back)
    assert math.isfinite(trained.metrics()["val_loss"])


def test_without_a_rate_and_with_nothing_else_to_change_it_bears_with_it():
    trained = session((Hyperparameter("weight_decay", 1e-3, 1e-6, 1.0, "log"),), train=faulty)
    trained.problem.optimizer.param_groups[0]["lr"] = 0.1
    train_on(trained, change=lambda step, batch: huge(step, batch, trained))
    assert trained.done
    assert not [row for row in trained.trace.rows if row.gate == "roll back"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_validation_loss_that_is_no_number_moves_nothing(bad):
    """From the first step on: every observation says nothing, and no rate is left to go back to for ever."""

    def loss(model, batch):
        return plain_loss(model, batch) * bad

    trained = train_on(session((rate(0.1),), val=loss), 100)
    assert trained.step_count == 100
    assert all(math.isfinite(float(value)) for value in trained.values.values())


def ordered(hard):
    """Small validation batches, not shuffled: the last so many points have random labels."""
    points, labels, sources = clouds(240, 2).tensors
    random = torch.randint(CLASSES, (240,), generator=torch.Generator().manual_seed(5))
    labels = torch.where(torch.arange(240) >= 240 - hard, random, labels)
    return [[tensor[i : i + 20] for tensor in (points, labels, sources)] for i in range(0, 240, 20)]


@pytest.mark.parametrize("hard", [0, 120])
def test_validation_batches_that_differ_do_not_look_like_a_loss_that_rises(hard):
    trained = train_on(session(val_batches=ordered(hard)))
    assert trained.metrics()["rollbacks"] == 0


def test_a_network_that_dies_after_it_has_learned_a_little_is_brought_back():
    """Its loss has not jumped, for it never was far below that of knowing nothing."""

    def faint(model, batch):
        return 0.5 * plain_loss(model, batch) + 0.5 * math.log(CLASSES)

    def dies(step, batch, trained):
        if step == AT:
            with torch.no_grad():
                trained.problem.model.first.bias.fill_(-1e3)
                trained.problem.model.last.bias.fill_(0)
                trained.problem.model.last.weight.fill_(0)
        return batch

    trained = lost(dies, train=faint, val=faint)
    back = [row for row in trained.trace.rows if row.gate == "roll back"]
    assert back
    assert "is no better for it" in back[0].reason
    assert trained.metrics()["val_loss"] < 0.9 * math.log(CLASSES)


def test_a_validation_loss_that_is_no_better_is_no_death_where_training_learns():
    """Labels of the validation part have nothing to do with the points."""

    def unrelated(model, batch):
        return 0.2 * F.cross_entropy(model(batch[0]), (batch[1] + batch[2]) % CLASSES) + math.log(CLASSES)

    trained = train_on(session(val=unrelated))
    assert trained.metrics()["rollbacks"] == 0


WEIGHTS = Hyperparameter("weights", torch.full((SOURCES,), 0.5), 0.01, 1.0, "log")


@pytest.mark.parametrize("worse", [1.0, 1.6])
def test_what_was_moved_between_two_reports_is_taken_back_where_the_loss_has_risen(worse):
    """Validation becomes harder at step 160; what then is at fault nobody can tell."""
    harder, seen = {"factor": 1.0}, {}

    def loss(model, batch):
        return plain_loss(model, batch) * harder["factor"]

    def change(step, batch):
        seen[step] = trained.values["weights"].clone()
        harder["factor"] = worse if step >= 160 else 1.0
        return batch

    trained = session((rate(), WEIGHTS), train=by_source, val=loss)
    train_on(trained, noisy=True, change=change)
    told = [row for row in trained.trace.rows if row.step == 200 and "has risen" in row.reason]
    moved = not torch.equal(seen[199], seen[150])
    assert moved, "or there is nothing to take back"
    assert torch.equal(seen[200], seen[150]) == bool(told) == (worse > 1)
    assert not [row for row in trained.trace.rows if row.gate == "roll back" and row.step <= 200], "weights stay"
