"""Loops that go by epochs, and what users measure between them."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from ray_glocal.session import Settings

from .cases import WAYS, Run, dataset, differences, loader, state_of, without_seconds

EPOCH = 6  # batches of `loader`


def by_batches(run):
    session = run.session()
    for batch in session.batches(run.loader):
        session.step(batch)
    return session


def by_epochs(run, session=None, until=None):
    """Lengths of the epochs, and the session."""
    session = session or run.session()
    lengths = []
    for epoch in session.epochs(run.loader):
        lengths.append(0)
        for batch in epoch:
            session.step(batch)
            lengths[-1] += 1
            if session.step_count == until:
                return lengths, session
    return lengths, session


@pytest.mark.parametrize("way", WAYS)
def test_epochs_are_the_same_steps(way):
    one = Run(total=40, settings=WAYS[way])
    plain = by_batches(one)
    expected = state_of(one.model, one.optimizer)
    other = Run(total=40, settings=WAYS[way])
    lengths, session = by_epochs(other)
    assert lengths == [EPOCH] * 6 + [4]
    assert session.done
    assert not differences(expected, state_of(other.model, other.optimizer))
    assert without_seconds(plain.metrics()) == pytest.approx(without_seconds(session.metrics()), nan_ok=True)


def test_training_may_end_with_an_epoch():
    assert by_epochs(Run(total=2 * EPOCH))[0] == [EPOCH, EPOCH]


@pytest.mark.parametrize("at", [EPOCH, EPOCH + 2])
def test_a_resumed_loop_goes_on_within_its_epoch(tmp_path, at):
    whole = Run(total=30)
    by_epochs(whole)
    expected = state_of(whole.model, whole.optimizer)
    lost = Run(total=30)
    by_epochs(lost, until=at)[1].save(tmp_path)
    fresh = Run(total=30)
    session = fresh.session()
    session.restore(tmp_path)
    lengths, _ = by_epochs(fresh, session)
    assert sum(lengths) == 30 - at
    assert not differences(expected, state_of(fresh.model, fresh.optimizer))


def test_micro_batches_that_are_left_over_are_passed_over():
    run = Run(total=4)
    session = run.session(accumulate=4)
    lengths = []
    for epoch in session.epochs(run.loader):
        groups = list_of(epoch, session)
        lengths.append([len(group) for group in groups])
    assert lengths == [[4], [4], [4], [4]]  # of six batches each


def list_of(epoch, session):
    groups = []
    for group in epoch:
        session.step(group)
        groups.append(group)
    return groups


def accuracy(model):
    inputs, labels = dataset(64, torch.float64, 5).tensors
    assert not model.training
    assert not torch.is_grad_enabled()
    torch.rand(3)  # draws of one's own
    return float((model(inputs).argmax(1) == labels).double().mean())


@pytest.mark.parametrize("way", WAYS)
def test_evaluating_changes_nothing(way):
    one = Run(total=40, settings=WAYS[way])
    by_batches(one)
    expected = state_of(one.model, one.optimizer)
    other = Run(total=40, settings=WAYS[way])
    session = other.session()
    for batch in session.batches(other.loader):
        session.step(batch)
        told = session.evaluate(accuracy)
        assert 0 <= told <= 1
        assert other.model.training
    assert not differences(expected, state_of(other.model, other.optimizer))


@pytest.mark.parametrize("averaging", [True, False])
def test_it_is_at_the_weights_of_reports(averaging):
    run = Run(total=40, settings=Settings(overhead=None, duty_cycle=0.5, averaging=averaging))
    session = by_batches(run)
    seen = session.evaluate(lambda model: [p.detach().clone() for p in model.parameters()])
    live = [p.detach().clone() for p in run.model.parameters()]
    with session.averaged_weights():
        averaged = [p.detach().clone() for p in run.model.parameters()]
    assert differences(live, averaged)
    assert not differences(seen, averaged if averaging else live)


def test_an_evaluation_that_fails_leaves_the_model_as_it_was():
    run = Run(total=10)
    session = by_batches(run)
    before = state_of(run.model, run.optimizer)
    with pytest.raises(ZeroDivisionError):
        session.evaluate(lambda model: 1 / 0)
    assert run.model.training
    assert not differences(before, state_of(run.model, run.optimizer))


def test_its_time_is_nobodys():
    run = Run(total=20)
    session = by_batches(run)
    before = session.cost.plain_seconds, session.cost.extra_seconds
    session.evaluate(lambda model: torch.linalg.svdvals(torch.rand(200, 200, dtype=torch.float64)))
    after = session.cost.plain_seconds, session.cost.extra_seconds
    assert after == before


def test_validation_on_the_training_data_is_said_for_epochs_too(caplog):
    run = Run(total=6)
    data = DataLoader(dataset(40, run.dtype, 2), batch_size=8)
    session = run.session(val_batches=data)
    next(iter(session.epochs(data)))
    assert session.notices.said("val_batches")


def test_a_model_without_parameters_in_eval_mode_can_be_evaluated_before_the_first_step():
    run = Run(total=6)
    assert isinstance(run.session().evaluate(lambda model: model), nn.Module)


def test_an_epoch_of_nothing_is_refused():
    run = Run(total=6)
    session = run.session()
    with pytest.raises(Exception, match="yield at least one batch in every epoch"):
        list(next(iter(session.epochs([]))))
    assert len(list(loader(run.dtype))) == EPOCH
