"""Every refusal, by its text: what is wrong, what was got, and the way out."""

import json
import math
import shutil
from collections import OrderedDict, namedtuple
from contextlib import contextmanager
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.names import SESSION_FILE
from ray_glocal.session import GlocalSession, Settings
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.state.checkpoint import read

from .cases import LIVELY, PROMPT, WAYS, Network, Run, differences, drive, windows

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
        ({"val_batches": 0}, "`val_batches` must be at least 1; got 0."),
        ({"search_region": 0.0}, "`search_region` must be positive; got 0.0."),
        ({"trust_limits": (0.0, 1.0)}, r"`trust_limits` must be a positive pair in order; got \(0.0, 1.0\)."),
        ({"trust_limits": (2.0, 1.0)}, r"`trust_limits` must be a positive pair in order; got \(2.0, 1.0\)."),
        ({"trust_region": 0.01}, r"`trust_region` must lie in \[0.05, 1\]; got 0.01."),
        ({"trust_region": 1.5}, r"`trust_region` must lie in \[0.05, 1\]; got 1.5."),
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
    with pytest.raises(ArgumentError, match=f"^{text}$"):
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


# ---- checkpoints ----


def saved(folder, at=20, **arguments):
    run = Run(**arguments)
    session = run.session()
    drive(session, session.batches(run.loader), at)
    session.save(folder)
    return folder


def test_a_folder_without_a_session(tmp_path):
    with pytest.raises(CheckpointError, match=r"`source` must hold a file 'session.pt'; got .* Pass a folder that `Gl"):
        Run().session().restore(tmp_path)


@pytest.mark.parametrize("kind", ["text", "half", "empty", "code"])
def test_a_checkpoint_that_cannot_be_read(tmp_path, kind):
    whole = (saved(tmp_path) / SESSION_FILE).read_bytes()
    if kind == "code":
        torch.save(SimpleNamespace(version=1), tmp_path / SESSION_FILE)
    else:
        content = {"text": b"some text", "half": whole[: len(whole) // 2], "empty": b""}[kind]
        (tmp_path / SESSION_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"`source` must hold a readable file 'session.pt'; got") as caught:
        read(tmp_path)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(("content", "got"), [({"version": 99}, "99"), ({}, "None"), ([1, 2], "None")])
def test_a_checkpoint_of_another_version(tmp_path, content, got):
    torch.save(content, tmp_path / SESSION_FILE)
    text = f"`source` must be a checkpoint of version 11; got {got}. Resume it with the release of ray_glocal"
    with pytest.raises(CheckpointError, match=text):
        Run().session().restore(tmp_path)


def test_a_checkpoint_of_other_hyperparameters(tmp_path):
    text = "`source` must adapt the same hyperparameters, lr; got 'lr, momentum, weight_decay'."
    with pytest.raises(CheckpointError, match=text):
        Run().session(hyper=[LR]).restore(saved(tmp_path))


def test_a_checkpoint_of_other_shapes(tmp_path):
    def session(count):
        run = Run()
        run.train = lambda model, batch, hyper: F.cross_entropy(model(batch[0]), batch[1]) * hyper["weights"].sum()
        return run.session(hyper=[Hyperparameter("weights", torch.ones(count))])

    session(3).save(tmp_path)
    text = r"must adapt the same hyperparameters, weights \(2,\); got 'weights \(3,\)'."
    with pytest.raises(CheckpointError, match=text):
        session(2).restore(tmp_path)


def test_a_checkpoint_of_another_length(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"`source` must plan 50 steps in all; got 100. A forecast to another end"
    ):
        Run(total=50).session().restore(saved(tmp_path))


def test_a_checkpoint_of_another_optimizer(tmp_path):
    run = Run("adamw")
    session = run.session(hyper=[LR])
    drive(session, session.batches(run.loader), 5)
    session.save(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"`source` must be trained by SGD; got 'AdamW'. Build the session as the"
    ):
        Run("sgd").session(hyper=[LR]).restore(tmp_path)


def test_a_checkpoint_of_another_schedule(tmp_path):
    text = "`source` must have the lr_scheduler None; got 'CosineAnnealingLR'. Build the session as the one"
    with pytest.raises(CheckpointError, match=text):
        Run().session().restore(saved(tmp_path, schedule="cosine"))


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_a_session_that_adapts_in_the_other_way(tmp_path, way):
    (other,) = WAYS.keys() - {way}
    with pytest.raises(CheckpointError, match=rf"`source` must .*{way}.*; got '{other}'"):
        Run(settings=WAYS[way]).session().restore(saved(tmp_path, settings=WAYS[other]))


Pair = namedtuple("Pair", ["x", "y"])


class Colour(IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda x, y: Pair(x, y), "Pair"),
        (lambda x, y: [x, y, {1}], "set"),
        (lambda x, y: [x, y, np.float64(0.5)], "float64"),
        (lambda x, y: [x, y, np.zeros(2)], "ndarray"),
        (lambda x, y: [x, y, {"colour": Colour.RED}], "Colour"),
        (lambda x, y: [x, y, {"where": SimpleNamespace()}], "SimpleNamespace"),
    ],
)
def test_a_batch_that_cannot_be_saved_inside_a_window(tmp_path, wrap, kind):
    run = Run()
    session = run.session()
    batches = (wrap(*batch) for batch in session.batches(run.loader))
    drive(session, batches, 3)
    text = f"`batch` must be made of tensors, numbers and text to be saved inside a window; got '{kind}'. Save between"
    with pytest.raises(ArgumentError, match=text):
        session.save(tmp_path)
    assert not (tmp_path / SESSION_FILE).exists()
    drive(session, batches, 6)
    session.save(tmp_path)
    Run().session().restore(tmp_path)


def test_a_first_order_session_keeps_no_batch(tmp_path):
    run = Run(settings=PROMPT)
    session = run.session()
    drive(session, (Pair(*batch) for batch in session.batches(run.loader)), 3)
    session.save(tmp_path)
    again = Run(settings=PROMPT).session()
    again.restore(tmp_path)
    assert again.step_count == 3


def test_plain_batches_of_every_kind_survive(tmp_path):
    rich = OrderedDict(id=7, names=("a", b"b", None), flags=[True, 0.5, {"t": torch.ones(2)}])
    run = Run()
    session = run.session()
    batches = ([*batch, rich] for batch in session.batches(run.loader))
    drive(session, batches, 3)
    session.save(tmp_path)
    fresh = Run().session()
    fresh.restore(tmp_path)
    batch = fresh._adaptation.recorder.snapshots[0].batch
    assert type(batch) is list
    assert type(batch[2]) is OrderedDict
    assert differences(rich, batch[2]) == []


# ---- ancestors ----


class Folder:
    """What Ray's checkpoints look like from here."""

    def __init__(self, path):
        self.path = path

    @contextmanager
    def as_directory(self):
        yield str(self.path)


def descended(folder, model=None, settings=LIVELY):
    run = Run(settings=settings)
    if model is not None:
        run.model = model
        run.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.8)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    session = run.session(hyper=Adapted(run.hyper, ancestor=Folder(folder)))
    session.restore(None)
    return before, run.model.state_dict(), session


@pytest.mark.parametrize("way", WAYS)
def test_an_ancestors_weights_are_taken_where_they_fit(tmp_path, way):
    theirs = read(saved(tmp_path))["model"]  # by windows: weights are weights
    before, after, session = descended(tmp_path, settings=WAYS[way])
    assert differences(dict(theirs), dict(after)) == []
    assert differences(before, dict(after)) != []
    assert session.step_count == 0
    assert not session.problem.optimizer.state
    assert not session.trace.rows
    assert not session.metrics()["searching"]  # the learning rate came along with the weights


def wider():
    model = Network()
    model.last = nn.Linear(10, 4)
    return model.double()


def deeper():
    model = Network()
    model.more = nn.Linear(3, 3)
    return model.double()


def renamed():
    model = Network()
    model.final = model.last
    del model.last
    return model.double()


@pytest.mark.parametrize("build", [wider, deeper, renamed])
def test_a_model_that_differs_anywhere_starts_afresh(tmp_path, build):
    before, after, _ = descended(saved(tmp_path), build())
    assert differences(before, dict(after)) == []


def test_weights_that_are_not_numbers_are_not_inherited(tmp_path):
    plain = read(saved(tmp_path))
    plain["model"]["last.weight"][0, 0] = float("nan")
    torch.save(plain, tmp_path / SESSION_FILE)
    before, after, _ = descended(tmp_path)
    assert differences(before, dict(after)) == []


@pytest.mark.parametrize(
    "lose", [lambda folder: (folder / SESSION_FILE).unlink(), lambda folder: shutil.rmtree(folder)]
)
def test_an_ancestors_checkpoint_that_is_gone_is_said_and_the_start_is_fresh(tmp_path, caplog, lose):
    folder = saved(tmp_path / "ancestor")
    lose(folder)
    before, after, session = descended(folder)
    assert differences(before, dict(after)) == []
    assert session.step_count == 0
    assert "The ancestor's checkpoint cannot be read: starting afresh." in caplog.text


def test_a_checkpoint_matters_more_than_an_ancestor(tmp_path):
    own, other = saved(tmp_path / "own", at=30), saved(tmp_path / "other", at=10)
    run = Run()
    session = run.session(hyper=Adapted(run.hyper, ancestor=Folder(other)))
    session.restore(Folder(own))
    assert session.step_count == 30
    assert differences(dict(read(own)["model"]), dict(run.model.state_dict())) == []


def test_a_checkpoint_is_packaged_as_its_taker_wants(tmp_path):
    run = Run()
    session = run.session(hyper=Adapted(run.hyper, package=lambda path: ("packed", path)))
    word, path = session.checkpoint()
    assert word == "packed"
    assert (path / SESSION_FILE).exists()
    session.close()


def test_metrics_are_plain_numbers_and_a_text():
    run = Run()
    session = run.session()
    drive(session, session.batches(run.loader), 20)
    metrics = session.metrics()
    assert {type(value) for name, value in metrics.items() if name != "warning"} <= {int, float}
    assert type(metrics["warning"]) is str
    json.dumps(metrics)
    assert isinstance(session, GlocalSession)
    assert metrics["cost/steps"] > 20
    assert LIVELY.report_every == metrics["step"] == 20
