"""What an ordinary training script meets on its first day: it is right, or it is said."""

import copy
import logging
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import GlocalSession

from .cases import LIVELY, PROMPT, QUIET, SECONDS, WAYS, Run, differences, drive, rows_of, state_of, val_loss, windows

LR = Hyperparameter("lr", 0.01, 1e-5, 1.0, "log")
POOR = windows(overhead=1e-9)
EXACT = windows(window=8, search_window=8, duty_cycle=1.0, engine="adjoint", act=1e9, act_small=1e9, heat=0)


def data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(160, 5, generator=generator, dtype=torch.float64)
    return TensorDataset(inputs, torch.randint(0, 3, (160,), generator=generator))


def network(*, norm=False):
    torch.manual_seed(0)
    middle = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(5, 8), *middle, nn.Tanh(), nn.Dropout(0.0), nn.Linear(8, 3)).double()


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def session_of(model, optimizer=None, hyper=(LR,), total=640, settings=POOR, **more):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.01)
    more = {"val_batches": [data()[:32]], **more}
    return GlocalSession(model, optimizer, loss, loss, hyper=list(hyper), total_steps=total, settings=settings, **more)


def batches():
    return [data()[16 * i : 16 * i + 16] for i in range(10)]


# ---- one hyperparameter for several groups ----


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
        loss(model, batch).backward()
        optimizer.step()
    return model, loss(model, batches()[8]).item()


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


# ---- training mode ----


@pytest.mark.parametrize("left", ["eval at the start", "eval after each step", "no_grad evaluation"])
def test_a_step_trains_in_training_mode(left):
    model, seen = network(), []
    model.register_forward_hook(lambda module, *_: seen.append(module.training))
    session = session_of(model)
    session.step(batches()[0])
    seen.clear()
    for batch in batches():
        if left != "no_grad evaluation":
            model.eval()
        else:
            with torch.no_grad():
                model.eval()(batch[0])
            seen.clear()
        session.step(batch)
        assert seen[-1] is True
        seen.clear()


def test_in_training_mode_the_weights_are_those_of_a_loop_that_calls_train():
    plain, ours = network(norm=True), network(norm=True)
    optimizer = torch.optim.SGD(plain.parameters(), 0.01)
    session = session_of(ours)
    for batch in batches():
        plain.train()
        optimizer.zero_grad()
        loss(plain, batch).backward()
        optimizer.step()
        session.step(batch)
        ours.eval()
        plain.eval()
    assert differences(plain.state_dict(), ours.state_dict()) == []


@pytest.mark.parametrize("anew", [True, False], ids=["frozen anew each epoch", "frozen once"])
def test_modules_that_are_frozen_in_eval_mode_stay_there(anew):
    model = network(norm=True)
    session = session_of(model)
    frozen = {name: buffer.clone() for name, buffer in model[1].named_buffers()}
    model[1].eval()
    for epoch in range(3):
        if anew and epoch:
            model.train()
            model[1].eval()
        for batch in batches():
            session.step(batch)
            assert model.training
            assert not model[1].training
        model.eval()  # for an evaluation of the user's own
    assert differences(frozen, dict(model[1].named_buffers())) == []


# ---- metrics at any step ----


def test_metrics_are_of_now_whenever_they_are_asked_for():
    model = network()
    session = session_of(model, total=640)
    for _, batch in zip(range(10), batches(), strict=True):
        session.step(batch)
    told = session.metrics()
    with torch.no_grad():
        assert told["val_loss"] == float(loss(model, data()[:32]))
    assert (told["step"], told["windows"], told["hyper/lr"]) == (10, 0, 0.01)
    assert math.isfinite(told["train_loss"])
    assert math.isnan(told["forecast/final_loss"])
    assert session.metrics()["cost/steps"] == told["cost/steps"], "asked twice, it is measured once"


def test_before_the_first_step_too():
    assert session_of(network()).metrics()["step"] == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_report_is_not_measured_twice(way):
    count = []
    run = Run(settings=WAYS[way], val=lambda model, batch: count.append(1) or val_loss(model, batch))
    session = run.session()
    drive(session, session.batches(run.loader), 20)
    before = len(count)
    assert session.at_report
    told = session.metrics()
    assert told["step"] == 20
    assert len(count) == before


@pytest.mark.parametrize("settings", [QUIET, LIVELY, PROMPT], ids=["quiet", "lively", "first-order"])
def test_asking_between_reports_changes_no_bit_of_training(settings):
    told = []
    for curious in (False, True):
        run = Run(settings=settings)
        session, reports = run.session(), []
        for batch in session.batches(run.loader):
            if curious:
                session.metrics()
            session.step(batch)
            if session.at_report:
                costs = (*SECONDS, "cost/steps")
                reports.append({k: v for k, v in session.metrics().items() if k not in costs})
        told.append([state_of(run.model, run.optimizer), rows_of(session), reports])
    assert differences(*told) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_taken_at_any_step_is_of_that_step(way):
    run = Run(settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader), 13)
    told, folder = session.metrics(), session.checkpoint()
    again = Run(settings=WAYS[way]).session()
    again.restore(folder)
    assert again.step_count == 13
    assert again.metrics()["val_loss"] == told["val_loss"]


# ---- what happens beside a session ----


def test_batches_that_nobody_trains_on():
    session = session_of(network(), total=50)
    text = (
        r"`batch` must be trained on; got '32 in a row handed out without a step'. Call `session.step\(batch\)` in the "
        "loop, in place of zero_grad, backward and optimizer.step."
    )
    with pytest.raises(ArgumentError, match=text):
        list(session.batches(batches()))


def test_nor_on_the_later_ones():
    session = session_of(network(), total=500)
    stream = session.batches(batches())
    for _ in range(40):
        session.step(next(stream))
    with pytest.raises(ArgumentError, match="`batch` must be trained on"):
        list(stream)
    assert session.step_count == 40


def test_a_few_ahead_are_no_slip():
    session = session_of(network(), total=100)
    stream = session.batches(batches())
    waiting = [next(stream) for _ in range(8)]
    while not session.done:
        session.step(waiting.pop(0))
        waiting += [next(stream)] if not session.done else []


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_a_loop_that_steps_the_optimizer_as_well(kind):
    model = network()
    optimizer = kind(model.parameters(), 0.01)
    session = session_of(model, optimizer)
    session.step(batches()[0])
    optimizer.step()
    text = (
        r"`optimizer` must be stepped by the session alone; got '1 of its steps taken beside it'. "
        r"`session.step\(batch\)` takes the whole step: leave out zero_grad, backward and optimizer.step."
    )
    with pytest.raises(ArgumentError, match=text):
        session.step(batches()[1])


def test_steps_of_a_session_that_failed_are_its_own():
    model = network()
    session = session_of(model)
    with pytest.raises(IndexError):
        session.step(data()[:16][:1])
    session.step(batches()[0])
    assert session.step_count == 1


def test_an_optimizer_that_is_watched_can_be_copied_and_saved():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    session = session_of(model, optimizer)
    session.step(batches()[0])
    copy.deepcopy(optimizer).step()
    session.step(batches()[1])


# ---- nothing adapted ----


SCARCE = (
    "`overhead` allows 25 % of 100 steps, 24.3 of them once reports are paid, and a window costs about 34. Train "
    "longer, raise `Settings(overhead=...)`, or set `Settings(window=..., search_window=...)` to fewer steps."
)


def test_a_session_that_can_buy_no_window_says_so_at_its_start_at_its_end_and_in_its_metrics(caplog):
    session = session_of(network(), total=100, settings=windows(report_every=100))
    for batch in session.batches(batches()):
        session.step(batch)
        assert session.notices.texts[0] == f"Nothing will be adapted. {SCARCE}"
    end = f"Nothing was adapted: no window was differentiated. {SCARCE}"
    told = session.metrics()
    assert (told["windows"], told["warnings"]) == (0, 2)
    assert told["warning"].splitlines() == [f"Nothing will be adapted. {SCARCE}", end]
    assert caplog.messages == told["warning"].splitlines()


def test_so_does_one_by_a_duty_cycle():
    settings = windows(window=64, search_window=64, duty_cycle=0.5)
    session = session_of(network(), total=60, settings=settings)
    session.step(batches()[0])
    (told,) = session.notices.texts
    assert told.startswith(
        "Nothing will be adapted. In 60 steps no window of 64 steps comes to its end before the last"
    )


def test_one_whose_windows_never_came_says_so_at_its_end(caplog):
    hyper = [Hyperparameter("weight_decay", 0.1, 1e-6, 1.0, "log")]
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, weight_decay=0.1)
    session = session_of(model, optimizer, hyper, total=640, settings=windows())
    session._adaptation.timetable.starts = lambda step: False
    for batch in session.batches(batches()):
        session.step(batch)
    (told,) = session.notices.texts
    assert told.startswith("Nothing was adapted: no window was differentiated. `overhead` allows 25 % of 640 steps, ")


def test_else_how_many_windows_there_will_be_is_logged(caplog):
    caplog.set_level(logging.INFO)
    session = session_of(network(), total=1000, settings=windows())
    session.step(batches()[0])
    assert "Adapts lr: up to 7 hypergradients in 1000 steps." in caplog.messages
    assert session.notices.texts == ()


@pytest.mark.parametrize("way", WAYS)
def test_windows_are_counted_and_the_count_is_saved(tmp_path, way):
    run = Run(settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader), 50)
    count = session.metrics()["windows"]
    assert count == len({row.step for row in session.trace.rows if row.local == row.local})
    session.save(tmp_path)
    again = Run(settings=WAYS[way]).session()
    again.restore(tmp_path)
    assert again.metrics()["windows"] == count


# ---- validation on the training data ----

SHARED = (
    "Validation is on the data that training is on: hyperparameters would be adapted to the training loss. Hold data "
    "out for `val_batches`, by `torch.utils.data.random_split` say."
)


def overlapping():
    whole, several = data(), batches()
    one, rest = Subset(whole, range(80)), Subset(whole, range(80, 160))
    left, right = (SubsetRandomSampler(list(part)) for part in (range(80), range(80, 160)))
    loader = DataLoader(whole, 16)
    return {
        "the same loader": (loader, loader, True),
        "the same list": (several, several, True),
        "two loaders of one data set": (loader, DataLoader(whole, 32, shuffle=True), True),
        "one of them by a part of it": (loader, DataLoader(whole, 16, sampler=left), True),
        "two parts that overlap": (DataLoader(whole, 16, sampler=left), DataLoader(whole, 8, sampler=left), True),
        "two parts": (DataLoader(whole, 16, sampler=left), DataLoader(whole, 16, sampler=right), False),
        "two subsets": (DataLoader(one, 16), DataLoader(rest, 16), False),
        "two lists": (several[:8], several[8:], False),
    }


@pytest.mark.parametrize("name", overlapping())
def test_validation_on_the_training_data_is_said_once(name, caplog):
    loader, validation, told = overlapping()[name]
    session = session_of(network(), val_batches=validation)
    for _ in range(2):
        session.step(next(session.batches(loader)))
    assert [text for text in session.notices.texts if "Validation" in text] == ([SHARED] if told else [])


# ---- a rate that is set by hand ----


@pytest.mark.parametrize("known", [False, True])
def test_a_rate_that_is_set_beside_the_session_is_said_once(known, caplog):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)
    session = session_of(model, optimizer, lr_scheduler=scheduler if known else None)
    for batch in batches():
        session.step(batch)
        if not known:
            scheduler.step()
        else:
            optimizer.param_groups[0]["lr"] = 0.5
    (told,) = [text for text in session.notices.texts if "beside it" in text]
    fate = "is lost with its next step" if known else "stays a factor on what is adapted"
    assert told.startswith("The learning rate, which the session adapts, was set from 0.0")
    assert told.endswith(f"that {fate}. Hand a scheduler over as `lr_scheduler=`, and the session steps it.")


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_that_the_session_itself_moves_is_not(tmp_path, way):
    run = Run(settings=WAYS[way])
    session = run.session()
    drive(session, session.batches(run.loader), 50)
    session.save(tmp_path)
    again = Run(settings=WAYS[way])
    resumed = again.session()
    resumed.restore(tmp_path)
    drive(resumed, resumed.batches(again.loader))
    assert len({float(row.value) for row in resumed.trace.rows}) > 3
    assert resumed.notices.texts == ()


def test_nor_one_that_nobody_adapts():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, weight_decay=0.1)
    session = session_of(model, optimizer, [Hyperparameter("weight_decay", 0.1, 1e-6, 1.0, "log")])
    for batch in batches():
        session.step(batch)
        optimizer.param_groups[0]["lr"] *= 0.9
    assert not [text for text in session.notices.texts if "beside it" in text]
