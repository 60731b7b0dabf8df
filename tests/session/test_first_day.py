"""What an ordinary training script meets on its first day: it is right, or it is said."""

import copy
import logging
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import Settings
from ray_glocal.session.pacing.budget import Budget

from .cases import WAYS, Run, differences, drive, entropy, windows
from .first_day import batches, data, network, session_of

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
        entropy(plain, batch).backward()
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
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        other.step()
    session.step(batches()[1])


# ---- nothing adapted ----


@pytest.fixture
def cheap(monkeypatch):
    """Reports, which by a real clock cost too much on a busy machine, and that is said beside the rest."""
    monkeypatch.setattr(Budget, "exceeded", lambda *_: "")


SCARCE = (
    "`overhead` allows 25 % of 100 steps, 24.3 of them once reports are paid, and a hypergradient costs about 34. "
    "Train longer, raise `Settings(overhead=...)`, or set `Settings(window=..., search_window=...)` to fewer steps."
)


def test_a_session_that_can_buy_no_window_says_so_at_its_start_at_its_end_and_in_its_metrics(cheap, caplog):
    session = session_of(network(), total=100, settings=windows(report_every=100))
    for batch in session.batches(batches()):
        session.step(batch)
        assert session.notices.texts[0] == f"Nothing will be adapted. {SCARCE}"
    end = f"Nothing was adapted: there was no hypergradient. {SCARCE}"
    told = session.metrics()
    assert (told["windows"], told["warnings"]) == (0, 2)
    assert told["warning"].splitlines() == [f"Nothing will be adapted. {SCARCE}", end]
    assert caplog.messages == told["warning"].splitlines()


def test_so_does_one_by_a_duty_cycle(cheap):
    settings = windows(window=64, search_window=64, duty_cycle=0.5)
    session = session_of(network(), total=60, settings=settings)
    session.step(batches()[0])
    (told,) = session.notices.texts
    assert told.startswith(
        "Nothing will be adapted. In 60 steps no hypergradient is complete before the last one: "
        "each takes 64 steps, one in 128."
    )


def test_one_whose_windows_never_came_says_so_at_its_end(cheap, caplog):
    hyper = [Hyperparameter("weight_decay", 0.1, 1e-6, 1.0, "log")]
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01, weight_decay=0.1)
    session = session_of(model, optimizer, hyper, total=640, settings=windows())
    session._adaptation.timetable.starts = lambda step: False
    for batch in session.batches(batches()):
        session.step(batch)
    (told,) = session.notices.texts
    assert told.startswith("Nothing was adapted: there was no hypergradient. `overhead` allows 25 % of 640 steps, ")


def test_a_session_that_can_buy_no_first_order_hypergradient_speaks_of_no_window():
    session = session_of(network(), total=20, settings=Settings(overhead=1e-6))
    for batch in session.batches(batches()):
        session.step(batch)
    ahead, end = (text for text in session.notices.texts if text.startswith("Nothing"))
    why = "`overhead` allows 0.0001 % of 20 steps, 0 of them once reports are paid, and a hypergradient costs about 2."
    assert ahead.startswith(f"Nothing will be adapted. {why}")
    assert end.startswith(f"Nothing was adapted: there was no hypergradient. {why}")


def test_else_how_many_windows_there_will_be_is_logged(cheap, caplog):
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
