"""Refusals of settings and arguments, by their texts: what is wrong, what was got, and the way out."""

import math

import pytest
import torch
import torch.nn.functional as F

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session import Settings
from ray_glocal.session.adapted import Adapted

from .cases import Run, drive, windows

LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")


ONE = "Set `overhead` for a time budget, or `duty_cycle` alone for a fixed period."


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (
            {"hypergradients": "second-order"},
            r"`hypergradients` must be one of \('first-order', 'windows'\); got 'second-order'.",
        ),
        ({"window": 3}, "`window` must be at least 4 steps; got 3."),
        ({"search_window": 3}, "`search_window` must be at least 4 steps; got 3."),
        ({"overhead": 0.0}, "`overhead` must be positive and finite, or 'auto'; got 0.0."),
        ({"overhead": math.inf}, "`overhead` must be positive and finite, or 'auto'; got inf."),
        ({"duty_cycle": 0}, r"`duty_cycle` must lie in \(0, 1\]; got 0."),
        ({"duty_cycle": 1.1}, r"`duty_cycle` must lie in \(0, 1\]; got 1.1."),
        ({"overhead": "a tenth"}, "`overhead` must be positive and finite, or 'auto'; got 'a tenth'."),
        ({"overhead": 0.1, "duty_cycle": 0.5}, "`duty_cycle` must be None beside `overhead`, 0.1; got 0.5. " + ONE),
        ({"overhead": None}, "`overhead` must be set where `duty_cycle` is not; got None. " + ONE),
        ({"engine": "reverse"}, "`engine` must be 'auto', 'adjoint' or 'forward'; got 'reverse'."),
        (
            {"products": "none"},
            "`products` must be 'exact' or 'differences'; got 'none'. Leave it out for 'exact'; it .*",
        ),
        (
            {"memory": -1},
            "`memory` must not be negative; got -1. Leave it out and the session chooses; it counts bytes .*",
        ),
        ({"host_memory": -1}, "`host_memory` must not be negative; got -1. Leave it out for 8589934592; it counts .*"),
        ({"tail": 1.5}, r"`tail` must lie in \[0, 1\]; got 1.5. Leave it out for 0.667; it is a share of a window, .*"),
        ({"heat": 1.0}, r"`heat` must lie in \[0, 1\); got 1.0. Leave it out for 0.2; it is a share of the loss, .*"),
        ({"val_batches": 0}, "`val_batches` must be at least 1; got 0."),
        ({"search_region": 0.0}, "`search_region` must be positive; got 0.0."),
        ({"trust_limits": (0.0, 1.0)}, r"`trust_limits` must be a positive pair in order; got \(0.0, 1.0\)."),
        ({"trust_limits": (2.0, 1.0)}, r"`trust_limits` must be a positive pair in order; got \(2.0, 1.0\)."),
        ({"trust_region": 0.01}, r"`trust_region` must lie in \[0.05, 1\]; got 0.01."),
        ({"trust_region": 1.5}, r"`trust_region` must lie in \[0.05, 1\]; got 1.5."),
        (
            {"trust_limits": (0.6, 1.0)},
            r"`trust_region` must lie in \[0.6, 1\]; got 0.5. Give it as well; it is the .*",
        ),
        ({"act": 0.3}, r"`act_small` must lie in \[0, `act`\], `act` 0.3; got 0.5. Give it as well; it is a signal.*"),
        ({"promise": 0.0}, "`promise` must be positive; got 0.0."),
        ({"act_small": 2.0}, r"`act_small` must lie in \[0, `act`\], `act` 1; got 2.0."),
        ({"act_small": -0.1}, r"`act_small` must lie in \[0, `act`\], `act` 1; got -0.1."),
        ({"dead_band": -1.0}, "`dead_band` must not be negative; got -1.0."),
        ({"report_every": 0}, "`report_every` must be at least 1; got 0."),
        ({"jump": 1.0}, "`jump` must be above 1; got 1.0."),
        ({"cut": 1.0}, r"`cut` must lie in \(0, 1\); got 1.0."),
        ({"cut": 0.0}, r"`cut` must lie in \(0, 1\); got 0.0."),
    ],
)
def test_settings_out_of_range(changed, text):
    with pytest.raises(ArgumentError, match=rf"^{text}( Leave it out [^;]+; it [^;]+\.)?$"):
        Settings(**changed)


def test_an_unknown_forecaster():
    with pytest.raises(ArgumentError, match="oracle"):
        Run().session(settings=windows(forecaster="oracle"))


@pytest.mark.parametrize("total", [0, -3])
def test_a_training_without_steps(total):
    with pytest.raises(ArgumentError, match=f"`total_steps` must be at least 1; got {total}."):
        Run(total=total).session()


def test_a_step_past_the_end():
    run = Run(total=3)
    session = run.session()
    drive(session, session.batches(run.loader))
    assert session.done
    with pytest.raises(ArgumentError, match=r"`total_steps` must not be exceeded; got 3. Plan for more steps."):
        session.step(next(iter(run.loader)))
    assert list(session.batches(run.loader)) == []


def test_an_unknown_hyperparameter():
    text = r"`hyper` must name options of SGD \(lr, momentum, dampening, weight_decay\) or values that a loss reads; "
    with pytest.raises(ArgumentError, match=text + "got 'learning_rate'. Correct the name, or give the losses a third"):
        Run().session(hyper=[Hyperparameter("learning_rate", 0.1)])


def test_no_hyperparameters():
    with pytest.raises(ArgumentError, match=r"`hyper` must hold at least one hyperparameter"):
        Run().session(hyper=Adapted(()))


def test_a_start_value_outside_its_bounds():
    with pytest.raises(ArgumentError, match=r"`start` must lie between 0.0001 and 1 for hyperparameter 'lr'; got 2.0."):
        Hyperparameter("lr", 2.0, 1e-4, 1.0, "log")


def test_a_hyperparameter_that_no_loss_reads():
    """A slip of the pen in a name that only a loss could know shows at the first step."""
    run = Run()

    def loss(model, batch, hyper):
        return F.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)

    run.train = loss
    session = run.session(hyper=[LR, Hyperparameter("smoothing", 0.1, 0.0, 0.5, "logit")])
    text = r"`hyper` must name what the optimizer or a loss uses; got 'smoothing'. The optimizer's options are lr, mom"
    with pytest.raises(ArgumentError, match=text):
        session.step(next(iter(run.loader)))


def test_an_unsupported_optimizer():
    run = Run()
    run.optimizer = torch.optim.Adadelta(run.model.parameters())
    text = r"`optimizer` must be one of Adagrad, Adam, AdamW, Lion, .*SGD; got 'Adadelta'. Use one of those, or"
    with pytest.raises(ArgumentError, match=text):
        run.session(hyper=[LR])


def test_a_schedule_that_waits_for_a_metric():
    run = Run()
    run.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(run.optimizer)
    with pytest.raises(ArgumentError, match=r"`lr_scheduler` must depend on the step alone; got 'ReduceLROnPlateau'."):
        run.session()


def test_a_schedule_of_another_optimizer():
    run, other = Run(), Run(schedule="step")
    run.scheduler = other.scheduler
    with pytest.raises(ArgumentError, match=r"`lr_scheduler` must schedule the session's optimizer; got 'StepLR'."):
        run.session()


def test_a_schedule_of_nothing():
    run = Run()
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.0)
    run.scheduler = torch.optim.lr_scheduler.StepLR(run.optimizer, 5)
    text = r"`lr_scheduler` must be built on learning rates above zero, for it multiplies them; got \[0.0\]. Give"
    with pytest.raises(ArgumentError, match=text):
        run.session(hyper=[LR])


def test_a_schedule_that_sets_what_is_adapted():
    run = Run()
    run.scheduler = torch.optim.lr_scheduler.OneCycleLR(run.optimizer, 0.1, 100)
    session = run.session()
    text = "`lr_scheduler` must leave the adapted options to the session; got 'momentum'. Switch that off, as by `cycle"
    with pytest.raises(ArgumentError, match=text):
        session.step(next(iter(run.loader)))
