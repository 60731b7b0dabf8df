"""Every scheduler that torch has: what the adapted rate stands for under it, and slips that are noticed."""

import inspect

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.lr_schedulers import peaks
from ray_glocal.session import GlocalSession
from ray_glocal.session.plan import planned

from .cases import WAYS, windows

TOTAL, LR = 60, 0.01
CALM = windows(overhead=1e-9)  # no window, whatever the clock says


def sequence(optimizer):
    cycle = schedulers.OneCycleLR(optimizer, LR, 50, cycle_momentum=False)
    return schedulers.SequentialLR(optimizer, [schedulers.ConstantLR(optimizer, 0.1, 10), cycle], [10])


def chain(optimizer):
    cycle = schedulers.OneCycleLR(optimizer, LR, TOTAL, cycle_momentum=False)
    return schedulers.ChainedScheduler([cycle, schedulers.ExponentialLR(optimizer, 0.999)])


MULTIPLYING = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda step: 1 / (1 + step)),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda step: 0.98),
    "StepLR": lambda o: schedulers.StepLR(o, 20),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [20, 40]),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 10),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.1, 1.0, 10),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.98),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, TOTAL),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, TOTAL),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 10),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 10), schedulers.CosineAnnealingLR(o, TOTAL - 10)], [10]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.LinearLR(o, 0.1, 1.0, 10), schedulers.ExponentialLR(o, 0.98)]
    ),
}
OWNING = {
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, LR, TOTAL, cycle_momentum=False),
    "OneCycleLR, linear": lambda o: schedulers.OneCycleLR(o, LR, TOTAL, anneal_strategy="linear", three_phase=True),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, LR / 10, LR, 10, cycle_momentum=False),
    "CyclicLR, halved": lambda o: schedulers.CyclicLR(o, 0.0, LR, 10, mode="triangular2", cycle_momentum=False),
    "a sequence": sequence,
    "a chain": chain,
}


class Restarting(schedulers.LRScheduler):
    """As others write them: it sets the rate between two of its own."""

    def __init__(self, optimizer, max_lr):
        self.max_lr = max_lr
        super().__init__(optimizer)

    def get_lr(self):
        return [self.max_lr * (1 - self.last_epoch % 10 / 10) for _ in self.optimizer.param_groups]


def training(build, *, lr=LR, start=LR, total=TOTAL, momentum=0.0, hyper=None, groups=1, settings=CALM):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    parameters = list(model.parameters())
    given = [{"params": parameters}] if groups == 1 else [{"params": [p]} for p in parameters]
    optimizer = torch.optim.SGD(given, lr, momentum=momentum)
    schedule = build(optimizer)
    batch = torch.ones(4, 3)
    session = GlocalSession(
        model,
        optimizer,
        lambda m, b: m(b).square().mean(),
        lambda m, b: m(b).square().mean(),
        val_batches=[batch],
        hyper=hyper or [Hyperparameter("lr", start, 1e-5, 1.0, "log")],
        total_steps=total,
        lr_scheduler=schedule,
        settings=settings,
    )
    return session, optimizer, batch


def rates_of(session, optimizer, batch):
    seen = []
    while not session.done:
        seen.append([group["lr"] for group in optimizer.param_groups])
        session.step(batch)
    return seen


def alone(build, *, lr=LR, total=TOTAL, momentum=0.0):
    """The rates of the same schedule without a session."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr, momentum=momentum)
    schedule, seen = build(optimizer), []
    for _ in range(total):
        seen.append([optimizer.param_groups[0]["lr"]])
        optimizer.step()
        schedule.step()
    return seen


def test_the_table_knows_every_scheduler_of_torch():
    known = {name for name in (*MULTIPLYING, *OWNING) if hasattr(schedulers, name)}
    theirs = {name for name in schedulers.__all__ if inspect.isclass(getattr(schedulers, name))}
    assert theirs - known == {"LRScheduler", "ReduceLROnPlateau"}, "what the adapted rate means there must be settled"


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("build", [*MULTIPLYING.values(), *OWNING.values()], ids=[*MULTIPLYING, *OWNING])
def test_at_the_rate_it_was_built_with_a_schedule_is_what_it_is_without_a_session(build):
    momentum = 0.5 if build is OWNING["OneCycleLR, linear"] else 0.0  # which it cycles, and nobody adapts it
    told = rates_of(*training(build, momentum=momentum))
    assert told == alone(build, momentum=momentum)


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("build", [*MULTIPLYING.values(), *OWNING.values()], ids=[*MULTIPLYING, *OWNING])
def test_a_rate_that_nobody_adapts_is_what_it_is_without_a_session(build, way):
    momentum = 0.5 if build is OWNING["OneCycleLR, linear"] else 0.0
    decay = [Hyperparameter("weight_decay", 1e-3, 1e-6, 0.1, "log")]
    session, *others = training(build, momentum=momentum, hyper=decay, settings=WAYS[way])
    assert rates_of(session, *others) == alone(build, momentum=momentum)
    assert session.trace.rows


@pytest.mark.parametrize("build", MULTIPLYING.values(), ids=MULTIPLYING)
def test_the_adapted_rate_is_the_optimizers(build):
    told = rates_of(*training(build, start=3 * LR))
    assert torch.tensor(told).allclose(3 * torch.tensor(alone(build)), rtol=1e-12)


@pytest.mark.parametrize("build", OWNING.values(), ids=OWNING)
def test_or_the_peak_of_one_that_is_built_with_it(build):
    """Whatever rate the optimizer was built with: such a scheduler does not read it."""
    momentum = 0.5 if build is OWNING["OneCycleLR, linear"] else 0.0
    told = rates_of(*training(build, lr=0.3, start=3 * LR, momentum=momentum))
    assert torch.tensor(told).allclose(3 * torch.tensor(alone(build, momentum=momentum)), rtol=1e-12)
    assert max(rate for (rate,) in told) <= 3 * LR * (1 + 1e-12)


def test_one_cycle_begins_at_a_twenty_fifth_and_peaks_at_the_users_rate():
    told = rates_of(*training(OWNING["OneCycleLR"]))
    assert told[0] == pytest.approx([LR / 25])
    assert max(rate for (rate,) in told) == pytest.approx(LR)


def test_one_of_somebody_elses():
    session, optimizer, batch = training(lambda o: Restarting(o, LR), lr=0.3, start=2 * LR)
    assert rates_of(session, optimizer, batch)[0] == [2 * LR]


def test_a_peak_for_each_group():
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)], 0.3)
    cycle = schedulers.OneCycleLR(optimizer, [0.01, 0.1], 10, cycle_momentum=False)
    assert peaks(cycle, optimizer.param_groups) == {0: 0.01, 1: 0.1}


def test_peaks_of_groups_keep_their_ratio():
    build = lambda o: schedulers.OneCycleLR(o, [0.01, 0.1], TOTAL, cycle_momentum=False)  # noqa: E731
    session, optimizer, batch = training(build, start=0.1, groups=2)
    told = torch.tensor(rates_of(session, optimizer, batch))
    assert told.amax(0).allclose(torch.tensor([0.01, 0.1]))


def test_a_start_beside_the_peak_is_said(caplog):
    session, _, _ = training(lambda o: schedulers.OneCycleLR(o, 0.1, TOTAL, cycle_momentum=False))
    assert session.notices.texts == (
        "OneCycleLR was built with max_lr 0.1, and 'lr' begins at 0.01: that is the peak now. Build both with the "
        "same number.",
    )


def test_momentum_that_is_cycled_and_adapted():
    hyper = [Hyperparameter("lr", LR, 1e-5, 1.0, "log"), Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit")]
    session, _, batch = training(lambda o: schedulers.OneCycleLR(o, LR, TOTAL), momentum=0.5, hyper=hyper)
    text = "`lr_scheduler` must leave the adapted options to the session; got 'momentum'. Switch that off"
    with pytest.raises(ArgumentError, match=text):
        session.step(batch)


EPOCHS = {
    "CosineAnnealingLR": (lambda o: schedulers.CosineAnnealingLR(o, 15), 15),
    "PolynomialLR": (lambda o: schedulers.PolynomialLR(o, 15), 15),
    "LinearLR": (lambda o: schedulers.LinearLR(o, 1.0, 0.1, 15), 15),
    "MultiStepLR": (lambda o: schedulers.MultiStepLR(o, [5, 10]), 10),
    "SequentialLR": (
        lambda o: schedulers.SequentialLR(
            o, [schedulers.LinearLR(o, 0.1, 1.0, 5), schedulers.CosineAnnealingLR(o, 10)], [5]
        ),
        15,
    ),
    "ChainedScheduler": (
        lambda o: schedulers.ChainedScheduler([schedulers.LinearLR(o, 0.1), schedulers.CosineAnnealingLR(o, 15)]),
        15,
    ),
}
REMEDY = "The session steps it after every inner step, not after every epoch: build it for all steps of training."


@pytest.mark.parametrize("kind", EPOCHS)
def test_a_schedule_that_is_planned_in_epochs_is_said_at_once(kind, caplog):
    build, steps = EPOCHS[kind]
    session, _, _ = training(build)
    assert session.notices.texts == (f"{kind} was planned for {steps} steps, and training has 60. {REMEDY}",)
    assert caplog.messages == list(session.notices.texts)


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda o: schedulers.StepLR(o, 5), "StepLR"),
        (lambda o: schedulers.ExponentialLR(o, 0.7), "ExponentialLR"),
        (lambda o: schedulers.LambdaLR(o, lambda step: 0.5**step), "LambdaLR"),
        (lambda o: schedulers.MultiplicativeLR(o, lambda step: 0.5), "MultiplicativeLR"),
    ],
)
def test_so_is_one_that_leaves_most_of_training_without_a_rate(build, kind):
    session, _, _ = training(build)
    (told,) = session.notices.texts
    assert told.startswith(f"{kind} takes the rates below a thousandth of their peak after ")
    assert told.endswith(f" of 60 steps. {REMEDY}")


@pytest.mark.parametrize("build", [*MULTIPLYING.values(), *OWNING.values()], ids=[*MULTIPLYING, *OWNING])
def test_nothing_is_said_of_one_that_fits(build):
    momentum = 0.5 if build is OWNING["OneCycleLR, linear"] else 0.0
    assert training(build, momentum=momentum)[0].notices.texts == ()


def test_a_cycle_that_ends_before_training_does_is_refused():
    text = (
        r"`lr_scheduler` must last for the 60 steps of training; got 'a OneCycleLR that ends after 20'. It is stepped "
        "after every inner step, not after every epoch: build it for as many."
    )
    with pytest.raises(ArgumentError, match=text):
        training(lambda o: schedulers.OneCycleLR(o, LR, 20, cycle_momentum=False))


@pytest.mark.parametrize("kind", ["CosineAnnealingLR", "OneCycleLR", "SequentialLR", "ChainedScheduler"])
@pytest.mark.parametrize("after", [1, 7])
def test_one_that_is_stepped_by_hand_as_well_is_refused_at_the_next_step(kind, after):
    session, _, batch = training({**MULTIPLYING, **OWNING}[kind])
    for _ in range(after):
        session.step(batch)
    session._schedule._scheduler.step()
    text = (
        rf"`lr_scheduler` must be stepped by the session alone; got 'a {kind} stepped beside it'. The session steps it"
    )
    with pytest.raises(ArgumentError, match=text):
        session.step(batch)


def test_what_cannot_be_read_has_no_plan():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    endless = [MULTIPLYING[kind](optimizer) for kind in ("StepLR", "LambdaLR", "CosineAnnealingWarmRestarts")]
    assert [planned(each) for each in endless] == [None, None, None]
