"""What a session is built with: refused by name and with the way out, not by torch's own text."""

import functools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import effect

from .cases import LIVELY, WAYS, Run, differences, drive, state_of, windows

LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")
COUNT = "Count inner steps: epochs times `len\\(train_loader\\)`."


@pytest.mark.parametrize(
    ("total", "text"),
    [
        (1e3, r"be a whole number; got 1000.0. Write `int\(1000\)`."),
        (10.5, f"be a whole number; got 10.5. {COUNT}"),
        (None, f"be a whole number; got None. {COUNT}"),
        (True, f"be a whole number; got True. {COUNT}"),
        ("100", f"be a whole number; got '100'. {COUNT}"),
        (math.inf, f"be a whole number; got inf. {COUNT}"),
        (math.nan, f"be a whole number; got nan. {COUNT}"),
        (torch.tensor(100), r"be a whole number; got tensor\(100\)"),
        (0, "be at least 1; got 0."),
        (10**9, f"be at most 10,000,000; got 1000000000. {COUNT}"),
    ],
)
def test_a_number_of_steps_that_is_none(total, text):
    with pytest.raises(ArgumentError, match=f"^`total_steps` must {text}"):
        Run().session(total_steps=total)


@pytest.mark.parametrize("total", [100, np.int64(100), np.int32(100)])
def test_a_whole_number_of_any_kind(total):
    assert type(Run().session(total_steps=total).total_steps) is int


@pytest.mark.parametrize(
    "hyper", [{"lr": 0.01}, LR, "lr", 0.01, None, ["lr"], [LR, "momentum"], [("lr", 0.01)]], ids=str
)
def test_what_is_adapted_in_another_form(hyper):
    text = (
        r"^`hyper` must be a sequence of `Hyperparameter`, or what `adapted` returns; got .*Write "
        r"`hyper=\[Hyperparameter\('lr', 0.01, lower=1e-5, upper=1.0, scale='log'\)\]`, or under Tune "
        r"`hyper=adapted\(config, space\)`.$"
    )
    with pytest.raises(ArgumentError, match=text):
        Run().session(hyper=hyper)


def test_hyperparameters_from_a_generator():
    assert Run().session(hyper=(each for each in [LR])).adapted.hyperparameters == (LR,)


def yielding(model, batch):
    yield F.cross_entropy(model(batch[0]), batch[1])


async def awaiting(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


class Yielding:
    def __call__(self, model, batch):
        yield F.cross_entropy(model(batch[0]), batch[1])


RULE = r"must be a function `\(model, batch\[, hyper\]\)` that returns a scalar tensor; got"


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (yielding, "'a generator function'. Return the loss, and neither `yield` nor `await`."),
        (Yielding(), "'a generator function'"),
        (functools.partial(yielding), "'a generator function'"),
        (awaiting, "'a coroutine function'"),
        (None, "None. Pass the function itself, not what it returned."),
        (torch.tensor(1.0), r"tensor\(1.\). Pass the function itself"),
    ],
    ids=["generator", "object", "partial", "coroutine", "none", "tensor"],
)
def test_losses_that_return_none(loss, got):
    run = Run()
    run.train = loss
    with pytest.raises(ArgumentError, match=f"^`train_loss` {RULE} {got}"):
        run.session()


def batches():
    yield from Run().loader


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (batches, "be an iterable of validation batches; got <function batches"),
        (batches(), "be iterable more than once, and an iterator is not; got 'generator'"),
        (map(list, []), "be iterable more than once, and an iterator is not; got 'map'"),
        (None, "be an iterable of validation batches; got None"),
    ],
    ids=["function", "generator", "map", "none"],
)
def test_validation_batches_that_come_once_or_not(given, text):
    with pytest.raises(ArgumentError, match=f"`val_batches` must {text}.*Pass a DataLoader or a list of batches"):
        Run().session(val_batches=given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (batches, "be an iterable of batches; got <function batches at .*>. Call it first."),
        (batches(), "be iterable anew for every epoch, and an iterator is not; got 'generator'. Pass a DataLoader, a"),
        (zip([], [], strict=True), "be iterable anew for every epoch, and an iterator is not; got 'zip'"),
        (None, "be an iterable of batches; got None. Pass a DataLoader, a list"),
    ],
    ids=["function", "generator", "zip", "none"],
)
def test_a_loader_that_comes_once_or_not(given, text):
    session = Run().session()
    with pytest.raises(ArgumentError, match=f"`loader` must {text}"):
        next(session.batches(given))


# ---- a hyperparameter without a derivative ----


def reader(read):
    def loss(model, batch, hyper):
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none").mul(1 + read(hyper)).mean()

    return loss


OUT = (
    " Use the tensor as it is; where torch takes a number alone, as `label_smoothing=` and dropout's `p=` do, write "
    "the formula out, or leave 'x' out of what is adapted, by `adapt=`, and read it from the configuration."
)
X = Hyperparameter("x", 0.3, 0.0, 1.0)
CUT = {
    "float": lambda hyper: float(hyper["x"]) * 0.1,
    "item": lambda hyper: hyper["x"].item() * 0.1,
    "detach": lambda hyper: hyper["x"].detach() * 0.1,
    "data": lambda hyper: hyper["x"].data * 0.1,
    "list": lambda hyper: hyper["x"].tolist() * 0.1,
    "compared": lambda hyper: 0.1 * (hyper["x"] > 0.5),
}


def smoothed(model, batch, hyper):
    """As a newcomer writes it after torch has refused the tensor."""
    return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=float(hyper["x"]))


def cut_off_in(loss):
    return (
        f"`{loss}` reads 'x' from `hyper` and has no derivative in it: `float(hyper['x'])`, `.item()` and `.detach()` "
        f"cut it off. It is not adapted.{OUT}"
    )


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("loss", [*map(reader, CUT.values()), smoothed], ids=[*CUT, "label smoothing"])
def test_one_that_a_loss_reads_without_its_graph_is_said_at_the_first_step_and_once(loss, settings):
    run = Run(train=loss, settings=settings)
    session = run.session(hyper=[LR, X])
    stream = session.batches(run.loader)
    drive(session, stream, 1)
    assert session.notices.texts == (cut_off_in("train_loss"),)
    drive(session, stream, 60)
    assert session.notices.texts == (cut_off_in("train_loss"),)
    assert float(session.values["x"]) == 0.3


def plain(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def branching(model, batch, hyper):
    """Reads it in both modes, and uses it in training alone."""
    weight = hyper["x"]
    return plain(model, batch) * ((1 + weight) if model.training else 1.0)


READ = {
    "validation alone": (plain, reader(CUT["float"]), ("val_loss",)),
    "training, though validation reads it well": (reader(CUT["float"]), reader(lambda h: h["x"]), ("train_loss",)),
    "both": (reader(CUT["float"]), reader(CUT["float"]), ("train_loss",)),
    "validation has no use for it": (branching, branching, ()),
    "validation reads it well": (plain, reader(lambda hyper: hyper["x"]), ()),
}


@pytest.mark.parametrize(("train", "val", "said"), READ.values(), ids=READ)
def test_of_two_losses_the_one_is_named_that_cuts_it_off(train, val, said):
    run = Run(train=train, val=val, settings=WAYS["first-order"])
    session = run.session(hyper=[LR, X])
    drive(session, session.batches(run.loader), 1)
    assert session.notices.texts == tuple(map(cut_off_in, said))


REFUSED = {
    "numpy": (lambda hyper: float(hyper["x"].numpy()), "Can't call numpy() on Tensor that requires grad"),
    "in place": (lambda hyper: hyper["x"].mul_(0.1), "a leaf Variable that requires grad is being used in an in-place"),
}


@pytest.mark.parametrize(("read", "text"), REFUSED.values(), ids=REFUSED)
def test_one_that_torch_lets_nobody_differentiate_so_ends_the_session_at_its_first_step(read, text):
    run = Run(train=reader(read), settings=WAYS["first-order"])
    session = run.session(hyper=[LR, X])
    rule = "`train_loss` must be differentiable in what it reads from `hyper`; got 'x'. Torch says: " + text
    with pytest.raises(ArgumentError, match=re.escape(rule)):
        drive(session, session.batches(run.loader), 1)


def test_so_does_a_weight_that_torch_takes_for_a_constant():
    def loss(model, batch, hyper):
        return F.cross_entropy(model(batch[0]), batch[1], weight=hyper["x"])

    run = Run(train=loss, settings=WAYS["first-order"])
    session = run.session(hyper=[LR, Hyperparameter("x", torch.ones(3), 0.0, 2.0)])
    with pytest.raises(ArgumentError, match=r"not differentiable with respect to argument 'weight'.*write the formula"):
        drive(session, session.batches(run.loader), 1)


def test_another_error_of_a_loss_is_its_own():
    def loss(model, batch, hyper):
        raise RuntimeError("of the loss's own" if "x" in hyper and hyper["x"] is not None else "")

    run = Run(train=loss, settings=WAYS["first-order"])
    session = run.session(hyper=[LR, X])
    with pytest.raises(RuntimeError, match="of the loss's own"):
        drive(session, session.batches(run.loader), 1)


@pytest.mark.parametrize("way", WAYS)
def test_looking_for_them_changes_nothing(way, monkeypatch):
    """Neither generators nor buffers nor weights: a loss that draws, and a network with running statistics."""
    found = []
    for looks in (effect.say_unreached, lambda *_: 0.0):
        monkeypatch.setattr("ray_glocal.session.session.say_unreached", looks)
        run = Run(train=drawing, val=drawing, settings=WAYS[way])
        session = run.session(hyper=[LR, X])
        drive(session, session.batches(run.loader), 40)
        found.append((dict(session.values), state_of(run.model, run.optimizer)))
    assert differences(*found) == []


def drawing(model, batch, hyper):
    noise = torch.rand(())
    return reader(lambda hyper: hyper["x"] * noise)(model, batch, hyper)


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_one_whose_derivative_is_zero_is_said_at_the_first_window(settings):
    run = Run(train=reader(lambda hyper: hyper["x"].round() * 0.1), settings=settings)
    session = run.session(hyper=[LR, X])
    stream = session.batches(run.loader)
    drive(session, stream, settings.search_window - 1)
    assert session.notices.texts == ()
    drive(session, stream, 60)
    assert session.notices.texts == (
        "The derivative in 'x' is exactly zero in the whole first hypergradient: a loss that rounds it or compares "
        f"it, or reads it as `float(hyper['x'])`, cuts it off, and it will never move.{OUT}",
    )


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
def test_one_that_is_read_as_it_is_is_not(settings):
    run = Run(train=reader(lambda hyper: hyper["x"] * 0.1), settings=settings)
    session = run.session(hyper=[LR, Hyperparameter("x", 0.3, 0.0, 1.0)])
    drive(session, session.batches(run.loader), 60)
    assert session.notices.texts == ()


def test_of_a_module_one_layer_may_still_be_zero():
    run = Run(train=reader(lambda hyper: hyper["net/a"] * hyper["net/b"]), settings=LIVELY)
    session = run.session(hyper=[LR, Hyperparameter("net/a", 0.3), Hyperparameter("net/b", 0.0)])
    drive(session, session.batches(run.loader), LIVELY.search_window)
    assert session.trace.rows[1].local == 0
    assert session.notices.texts == ()


def test_an_option_of_the_optimizer_may_have_none():
    """Weight decay of weights that are zero, say."""
    run = Run(settings=windows(window=8, duty_cycle=1.0))
    for parameter in run.model.parameters():
        torch.nn.init.zeros_(parameter)
    session = run.session(hyper=[Hyperparameter("weight_decay", 1e-2, 1e-6, 0.1, "log")])
    session._adaptation.evaluate = lambda window: None
    drive(session, session.batches(run.loader), 10)
    assert session.notices.texts == ()
