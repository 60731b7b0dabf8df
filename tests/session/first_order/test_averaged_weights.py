"""Averaged weights: what reports, the user's own evaluation and checkpoints have in common."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.first_order.tuning import EVERY, FAR, SHORTEST
from ray_glocal.session import weights

from ..cases import differences, state_of
from .sessions import CALM, CLASSES, FEATURES, evaluated, rate, session, train_on

RAW = replace(CALM, averaging=False)


class Normed(nn.Sequential):
    """With running statistics and dropout."""

    def __init__(self):
        super().__init__(
            nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, CLASSES)
        )


def normed(**told):
    torch.manual_seed(0)
    return session((rate(),), model=Normed(), **told)


@pytest.mark.parametrize("until", [50, 100, 77])
def test_the_reported_loss_is_that_of_the_averaged_weights(until):
    """Also between two reports, where it is measured when it is asked for."""
    trained = train_on(normed(), until)
    told = trained.metrics()["val_loss"]
    with trained.averaged_weights():
        assert evaluated(trained.problem.model) == pytest.approx(told, rel=1e-6)
    assert evaluated(trained.problem.model) != pytest.approx(told, rel=1e-4)


def test_without_averaging_it_is_that_of_the_raw_ones():
    trained = train_on(normed(settings=RAW), 100)
    assert evaluated(trained.problem.model) == pytest.approx(trained.metrics()["val_loss"], rel=1e-6)


def test_averaging_changes_nothing_but_what_is_reported():
    """Hypergradients are at averaged weights either way."""
    one, other = train_on(normed(), 120), train_on(normed(settings=RAW), 120)
    states = [state_of(s.problem.model, s.problem.optimizer) for s in (one, other)]
    assert differences(*states) == []
    assert differences([vars(row) for row in one.trace.rows], [vars(row) for row in other.trace.rows]) == []


def test_they_are_the_naive_average_of_the_weights_that_were():
    """A plain loop over copies; from the last retreat on, for those before are not on the way."""
    trained = session((rate(0.1),))
    average = [p.detach().clone() for p in trained.problem.parameters]

    def change(step, batch):
        own = list(trained.problem.parameters)
        if trained.trace.rows and trained.trace.rows[-1].step == step and trained.trace.rows[-1].gate == "go back":
            for held, parameter in zip(average, own, strict=True):
                held.copy_(parameter.detach())
        elif step and step % EVERY == 0:
            share = min(1.0, EVERY / max(SHORTEST[FAR], step / FAR))
            for held, parameter in zip(average, own, strict=True):
                held.add_(share * (parameter.detach() - held))
        return batch

    train_on(trained, 101, change=change)
    with trained.averaged_weights():
        for held, parameter in zip(average, trained.problem.parameters, strict=True):
            torch.testing.assert_close(held, parameter.detach(), rtol=1e-4, atol=1e-5)


def test_the_model_has_its_own_weights_again_afterwards():
    trained = train_on(normed(), 90)
    model, optimizer = trained.problem.model, trained.problem.optimizer
    before = copy.deepcopy(state_of(model, optimizer))
    with trained.averaged_weights():
        assert differences(before["parameters"], list(model.parameters()))
        assert differences(before["buffers"], list(model.buffers()))
    assert differences(before, state_of(model, optimizer)) == []
    with pytest.raises(ZeroDivisionError), trained.averaged_weights():
        raise ZeroDivisionError
    assert differences(before, state_of(model, optimizer)) == []


def test_a_checkpoint_holds_both(tmp_path):
    trained = train_on(normed(), 90)
    trained.save(tmp_path)
    own = weights(tmp_path)
    assert differences(own, dict(trained.problem.model.state_dict())) == []
    with trained.averaged_weights():
        assert differences(weights(tmp_path, averaged=True), dict(trained.problem.model.state_dict())) == []
    fresh = Normed()
    fresh.load_state_dict(weights(tmp_path, averaged=True))
    assert evaluated(fresh) == pytest.approx(trained.metrics()["val_loss"], rel=1e-6)


def test_without_averaging_a_checkpoint_holds_none(tmp_path):
    train_on(normed(settings=RAW), 20).save(tmp_path)
    with pytest.raises(ArgumentError, match="hold averaged weights"):
        weights(tmp_path, averaged=True)
    assert weights(tmp_path)


@pytest.mark.parametrize("settings", [CALM, RAW], ids=["averaging", "raw"])
def test_the_users_own_average_is_what_reports_are_at(tmp_path, settings):
    torch.manual_seed(0)
    model = Normed()
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.95), use_buffers=True)
    trained = train_on(session((rate(),), model=model, averaged=averaged, settings=settings), 100)
    told = trained.metrics()["val_loss"]
    assert evaluated(averaged.module) == pytest.approx(told, rel=1e-6)
    with trained.averaged_weights():
        assert evaluated(model) == pytest.approx(told, rel=1e-6)
        assert differences(dict(model.state_dict()), dict(averaged.module.state_dict())) == []
    trained.save(tmp_path)
    assert differences(weights(tmp_path, averaged=True), dict(averaged.module.state_dict())) == []


def test_the_users_own_average_does_not_change_what_is_adapted():
    torch.manual_seed(0)
    model = Normed()
    theirs = session((rate(),), model=model, averaged=AveragedModel(model))
    one, other = train_on(theirs, 120), train_on(normed(), 120)
    assert differences([vars(row) for row in one.trace.rows], [vars(row) for row in other.trace.rows]) == []


def test_before_the_first_step_they_are_the_weights():
    fresh = normed()
    raw = evaluated(fresh.problem.model)
    with fresh.averaged_weights():
        assert evaluated(fresh.problem.model) == raw


class Counting(Normed):
    """With a buffer that no state dict holds, and outputs that depend on it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.scale.mul_(1.01)
        return super().forward(x) * self.scale.clone()


def counting():
    torch.manual_seed(0)
    model = Counting()
    averaged = AveragedModel(model, use_buffers=True)
    return averaged, session((rate(),), model=model, averaged=averaged, constants=("scale",))


LOST = "an `AveragedModel`'s buffers that no state dict holds are left out"


def test_buffers_that_no_state_dict_holds_are_averaged_too():
    averaged, trained = counting()
    train_on(trained, 50)
    with trained.averaged_weights():
        assert torch.equal(trained.problem.model.scale, averaged.module.scale)


def test_buffers_that_no_state_dict_holds_come_back_with_a_checkpoint(tmp_path):
    averaged, trained = counting()
    train_on(trained, 50).save(tmp_path)
    again, restored = counting()
    restored.restore(tmp_path)
    assert torch.equal(restored.problem.model.scale, trained.problem.model.scale)
    assert torch.equal(again.module.scale, averaged.module.scale)
