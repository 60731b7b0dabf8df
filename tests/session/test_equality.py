"""A session that may not act is the loop without it, bit for bit; one that acts is that loop with other options."""

import pytest
import torch
from torch import nn

from ray_glocal.hypergradient import Hyperparameter

from .cases import LIVELY, PROMPT, QUIET, SCHEDULES, WAYS, Run, differences, drive, rows_of, state_of


def plain_loop(run, options=None):
    """The loop as everybody writes it; `options[t]` are set ahead of step t. Asks for no batch that it does not use."""
    batches = iter(run.loader)
    for step in range(run.total):
        batch = next(batches, None)
        if batch is None:
            batches = iter(run.loader)
            batch = next(batches)
        if options:
            for group, wanted in zip(run.optimizer.param_groups, options[step], strict=True):
                group.update(wanted)
        run.optimizer.zero_grad()
        run.train(run.model, batch).backward()
        run.optimizer.step()
        if run.scheduler is not None:
            run.scheduler.step()


CASES = [(name, dtype, None) for name in ("sgd", "adamw", "rmsprop") for dtype in (torch.float32, torch.float64)]


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize(("optimizer", "dtype", "schedule"), [*CASES, ("sgd", torch.float32, "warm-up and cosine")])
def test_with_the_gate_closed_a_run_is_the_plain_loop(optimizer, dtype, schedule, own_generator):
    weight_decay = {"weight_decay": 1e-2} if optimizer == "sgd" else {}
    arguments = {"dtype": dtype, "schedule": schedule, "own_generator": own_generator, "settings": QUIET}
    alone = Run(optimizer, **arguments)
    for group in alone.optimizer.param_groups:
        group.update({**weight_decay, **({"alpha": 0.95} if optimizer == "rmsprop" else {})})
    plain_loop(alone)
    expected = state_of(alone.model, alone.optimizer)
    accompanied = Run(optimizer, **arguments)
    session = accompanied.session()
    drive(session, session.batches(accompanied.loader))
    assert rows_of(session), "no window was differentiated"
    assert {row["gate"] for row in rows_of(session)} == {"hold"}
    assert differences(expected, state_of(accompanied.model, accompanied.optimizer)) == []
    if own_generator:
        assert torch.equal(alone.generator.get_state(), accompanied.generator.get_state())


HELD = {"sgd": "momentum", "adamw": "beta1", "rmsprop": "alpha"}  # decay rates, which first-order sessions only watch


@pytest.mark.parametrize("own_generator", [False, True])
@pytest.mark.parametrize(("optimizer", "dtype", "schedule"), [*CASES, ("sgd", torch.float32, "warm-up and cosine")])
def test_a_first_order_session_that_only_watches_is_the_plain_loop(optimizer, dtype, schedule, own_generator):
    arguments = {"dtype": dtype, "schedule": schedule, "own_generator": own_generator, "settings": PROMPT}
    alone = Run(optimizer, **arguments)
    for group in alone.optimizer.param_groups:
        group.update({"alpha": 0.95} if optimizer == "rmsprop" else {})
    plain_loop(alone)
    expected = state_of(alone.model, alone.optimizer)
    accompanied = Run(optimizer, **arguments)
    session = accompanied.session(hyper=[each for each in accompanied.hyper if each.name == HELD[optimizer]])
    drive(session, session.batches(accompanied.loader))
    assert len(rows_of(session)) > 3, "nothing was observed"
    assert {row["gate"] for row in rows_of(session)} == {"hold"}
    assert differences(expected, state_of(accompanied.model, accompanied.optimizer)) == []
    if own_generator:
        assert torch.equal(alone.generator.get_state(), accompanied.generator.get_state())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
@pytest.mark.parametrize("schedule", [None, "cosine"])
def test_an_acting_session_is_the_plain_loop_with_its_options(optimizer, schedule, way):
    run, options = Run(optimizer, settings=WAYS[way], schedule=schedule), []

    def seen(optimizer, *_):
        options.append([{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups])

    run.optimizer.register_step_pre_hook(seen)  # the first step may have other options than the session was given
    session = run.session()
    drive(session, session.batches(run.loader))
    assert len(options) == run.total
    assert any(row["gate"].startswith("act") for row in rows_of(session))
    assert len({group["lr"] for (group,) in options}) > 1
    got = state_of(run.model, run.optimizer)
    twin = Run(optimizer, settings=LIVELY)  # its options are dictated, so it needs no schedule
    for (group,) in options:
        group.pop("adapted_lr")
    plain_loop(twin, options)
    expected = state_of(twin.model, twin.optimizer)
    for name in ("parameters", "buffers", "optimizer"):
        assert differences(expected[name], got[name], name) == []


PEAKS = {"one cycle": 0.1, "cyclic": 0.05}  # max_lr: they overwrite the optimizer's rate, so it is what a user gives


@pytest.mark.parametrize("start", [0.03, pytest.param(0.05, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_adapted_rate_multiplies_the_schedule(name, start, way):
    """The rate at each step is adapted value x factor, and the factor is read off a twin that nobody adapts."""
    run = Run("sgd", settings=WAYS[way], schedule=name, start={"lr": start})
    twin = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.03)
    schedule = SCHEDULES[name](twin)
    base = PEAKS.get(name, twin.param_groups[0]["initial_lr"])
    session = run.session()
    batches, adapted = session.batches(run.loader), set()
    while not session.done:
        factor = twin.param_groups[0]["lr"] / base
        value = float(session.values["lr"])
        assert run.optimizer.param_groups[0]["lr"] == pytest.approx(value * factor, rel=1e-12, abs=1e-300)
        if session.step_count:
            assert run.scheduler.get_last_lr() == [run.optimizer.param_groups[0]["lr"]]
        adapted.add(value)
        session.step(next(batches))
        twin.step()
        schedule.step()
    assert len(adapted) > 1, "the rate was never adapted"


@pytest.mark.parametrize("name", ["step", "cosine", "lambda", "warm-up and cosine", "exponential"])
def test_a_start_value_is_the_base_that_a_schedule_could_have_been_built_with(name):
    run = Run("sgd", settings=QUIET, schedule=name, start={"lr": 0.05})
    twin = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    schedule = SCHEDULES[name](twin)
    session = run.session()
    batches = session.batches(run.loader)
    while not session.done:
        assert run.optimizer.param_groups[0]["lr"] == pytest.approx(twin.param_groups[0]["lr"], rel=1e-12)
        session.step(next(batches))
        twin.step()
        schedule.step()


@pytest.mark.parametrize("way", WAYS)
def test_only_the_adapted_group_leaves_its_schedule(way):
    run = Run("sgd", settings=WAYS[way])
    head, body = list(run.model.last.parameters()), list(run.model.first.parameters())
    run.model.norm.requires_grad_(False)  # nothing trains it
    run.optimizer = torch.optim.SGD([{"params": head, "lr": 0.1}, {"params": body, "lr": 0.05}])
    run.scheduler = torch.optim.lr_scheduler.ExponentialLR(run.optimizer, 0.9)
    session = run.session(hyper=[Hyperparameter("rate", 0.2, 1e-4, 1.0, "log", field="lr", groups=(0,))])
    for step, batch in zip(range(30), session.batches(run.loader), strict=False):
        rates = [group["lr"] for group in run.optimizer.param_groups]
        assert rates == pytest.approx([float(session.values["rate"]) * 0.9**step, 0.05 * 0.9**step])
        session.step(batch)
