"""Loops that clip, accumulate, scale and average: a session takes their steps, resumes them, goes back with them."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Clipping

from .cases import PROMPT, QUIET, WAYS, Run, differences, drive, rows_of, state_of, train_loss
from .test_equality import HELD

FEW = 60  # steps


def averaged(model):
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)


def treated_loop(run, clipping, parts, average, scaler):
    """The loop as everybody writes it."""
    batches = iter([])
    for _ in range(run.total):
        run.optimizer.zero_grad()
        for _ in range(parts):
            batch = next(batches, None)
            if batch is None:
                batches = iter(run.loader)
                batch = next(batches)
            loss = run.train(run.model, batch)
            scaler.scale(loss if parts == 1 else loss / parts).backward()
        scaler.unscale_(run.optimizer)
        if clipping.norm:
            torch.nn.utils.clip_grad_norm_(run.model.parameters(), clipping.norm)
        if clipping.value:
            torch.nn.utils.clip_grad_value_(run.model.parameters(), clipping.value)
        scaler.step(run.optimizer)
        scaler.update()
        average.update_parameters(run.model)


def scalers(scaled):
    return torch.amp.GradScaler("cpu", init_scale=2.0**12, enabled=scaled)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("clipping", [Clipping(), Clipping(norm=0.5), Clipping(norm=2.0, value=0.1)])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_with_the_gate_closed_a_run_is_the_treated_loop(optimizer, clipping, parts, scaled):
    # Decaying by a weight decay of its own from the start, as the session's start values say.
    alone = Run(optimizer, settings=QUIET, total=FEW)
    for group in alone.optimizer.param_groups:
        group["weight_decay"] = 1e-2
    average = averaged(alone.model)
    treated_loop(alone, clipping, parts, average, scalers(scaled))
    run = Run(optimizer, settings=QUIET, total=FEW)
    mean = averaged(run.model)
    session = run.session(clipping=clipping, accumulate=parts, averaged=mean, scaler=scalers(scaled))
    drive(session, session.batches(run.loader))
    assert rows_of(session), "no window was differentiated"
    check_same((alone, average), (run, mean))


def check_same(expected, got):
    """Of two runs and their averaged weights."""
    (alone, average), (run, mean) = expected, got
    known, found = (state_of(each.model, each.optimizer) for each in (alone, run))
    for name in ("parameters", "optimizer", "torch"):
        assert differences(known[name], found[name], name) == []
    assert differences(dict(average.state_dict()), dict(mean.state_dict())) == []


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("clipping", [Clipping(), Clipping(norm=2.0, value=0.1)])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_first_order_session_that_only_watches_is_the_treated_loop(optimizer, clipping, parts, scaled):
    alone = Run(optimizer, settings=PROMPT, total=FEW)
    average = averaged(alone.model)
    treated_loop(alone, clipping, parts, average, scalers(scaled))
    run = Run(optimizer, settings=PROMPT, total=FEW)
    mean, hyper = averaged(run.model), [each for each in run.hyper if each.name == HELD[optimizer]]
    session = run.session(clipping=clipping, accumulate=parts, averaged=mean, scaler=scalers(scaled), hyper=hyper)
    drive(session, session.batches(run.loader))
    assert rows_of(session), "nothing was observed"
    check_same((alone, average), (run, mean))


@pytest.mark.parametrize("settings", [QUIET, PROMPT], ids=["windows", "first-order"])
def test_the_loss_that_is_reported_is_that_of_the_averaged_weights(settings):
    run = Run("sgd", settings=settings, total=FEW)
    mean = averaged(run.model)
    batches = [(torch.randn(40, 6, dtype=torch.float64), torch.arange(40) % 3)]
    session = run.session(averaged=mean, val_batches=batches)
    drive(session, session.batches(run.loader))
    own = session.problem.mean_val_loss(batches, session.values)
    theirs = session.problem.mean_val_loss(batches, session.values, averaged=True)
    assert session.metrics()["val_loss"] == pytest.approx(theirs, rel=1e-2)  # the loss draws noise
    assert abs(own - theirs) > 2 * abs(session.metrics()["val_loss"] - theirs)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("stop", [27, 40, 51])
def test_a_treated_run_resumes_bit_for_bit(tmp_path, stop, scaled, way):
    def begin():
        run = Run("adamw", settings=WAYS[way], total=FEW)
        mean = averaged(run.model)
        treated = {"clipping": Clipping(norm=0.5), "accumulate": 2, "scaler": scalers(scaled), "averaged": mean}
        return run, mean, run.session(**treated)

    run, mean, session = begin()
    batches = session.batches(run.loader)
    drive(session, batches, stop)
    session.save(tmp_path)
    drive(session, batches)
    again, restored, resumed = begin()
    resumed.restore(tmp_path)
    drive(resumed, resumed.batches(again.loader))
    assert differences(state_of(run.model, run.optimizer), state_of(again.model, again.optimizer)) == []
    assert differences(dict(mean.state_dict()), dict(restored.state_dict())) == []
    assert differences(rows_of(session), rows_of(resumed)) == []


@pytest.mark.parametrize("way", WAYS)
def test_averaged_weights_go_back_with_the_model(way):
    run = Run("sgd", settings=replace(WAYS[way], jump=1.5), start={"lr": 0.03}, total=FEW)
    blown = iter(range(1000))

    def train(model, batch):
        return train_loss(model, batch) * (1e6 if next(blown) == 40 else 1.0)

    run.train = train
    mean = averaged(run.model)
    session = run.session(averaged=mean)
    batches = session.batches(run.loader)
    back, rollbacks = [], 0
    while session.step_count < FEW:
        known = [
            dict(copy.deepcopy(point.averaged["state"]))
            for point in (session._guard.first, session._guard.good)
            if point
        ]
        session.step(next(batches))
        if session.metrics()["rollbacks"] > rollbacks:
            rollbacks += 1
            back.append(any(differences(each, dict(mean.state_dict())) == [] for each in known))
    assert back, "it never went back"
    assert all(back)


def test_batches_are_gathered_as_they_are_accumulated():
    run = Run("sgd", settings=QUIET, total=FEW)
    session = run.session(accumulate=3)
    gathered = next(session.batches(run.loader))
    assert isinstance(gathered, list)
    assert len(gathered) == 3
    session.step(gathered)
    with pytest.raises(ArgumentError, match="`batch` must be a sequence of 3 micro-batches; got 2"):
        session.step(gathered[:2])
