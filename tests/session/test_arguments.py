"""What a session is built with: refused by name and with the way out, not by torch's own text."""

import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter

from .cases import LIVELY, WAYS, Run, drive, windows

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


CUT = {
    "float": lambda hyper: float(hyper["x"].detach()) * 0.1,
    "item": lambda hyper: hyper["x"].item() * 0.1,
    "detach": lambda hyper: hyper["x"].detach() * 0.1,
    "rounded": lambda hyper: hyper["x"].round() * 0.1,
}


@pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("read", CUT.values(), ids=CUT)
def test_one_that_a_loss_reads_without_its_graph_is_said_at_the_first_window(read, settings, caplog):
    run = Run(train=reader(read), settings=settings)
    session = run.session(hyper=[LR, Hyperparameter("x", 0.3, 0.0, 1.0)])
    stream = session.batches(run.loader)
    drive(session, stream, settings.search_window - 1)
    assert session.notices.texts == ()
    drive(session, stream, 60)
    assert session.notices.texts == (
        "The derivative in 'x' is exactly zero over the whole first window: a loss that reads it as "
        "`float(hyper['x'])`, by `.item()` or `.detach()`, cuts it off, and it will never move. Use the tensor as it "
        "is.",
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
    session._adaptation.heed = lambda window: None
    drive(session, session.batches(run.loader), 10)
    assert session.notices.texts == ()
