"""Ancestors: whose weights are taken, and when training starts afresh."""

import shutil
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.names import SESSION_FILE
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.state.checkpoint import read

from .cases import LIVELY, WAYS, Network, Run, differences, drive
from .test_checkpoint_refusals import saved


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


def weighing(model, batch, hyper):
    return (F.cross_entropy(model(batch[0]), batch[1], reduction="none") * hyper["weights"][batch[1]]).mean()


def weighed(settings, start, shape=(4,), upper=1.0, ancestor=None):
    """A session that adapts weights of classes beside the learning rate, and its run."""
    run = Run(settings=settings, train=weighing, val=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))
    lr = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")
    weights = Hyperparameter("weights", torch.full(shape, start), 0.0, upper, "logit")
    session = run.session(hyper=Adapted((lr, weights), ancestor=None if ancestor is None else Folder(ancestor)))
    session.restore(None)
    return session, run


@pytest.mark.parametrize("fresh", [False, True], ids=["its weights", "fresh weights"])
@pytest.mark.parametrize("way", WAYS)
def test_tensors_which_no_configuration_holds_are_an_ancestors_own(tmp_path, way, fresh):
    elder, run = weighed(WAYS[way], 0.5)
    drive(elder, elder.batches(run.loader), 40)
    elder.save(tmp_path)
    learned = elder.values["weights"]
    assert not torch.equal(learned, torch.full((4,), 0.5, dtype=torch.float64))
    if fresh:
        plain = torch.load(tmp_path / SESSION_FILE, weights_only=True)
        plain["model"] = {f"other.{name}": value for name, value in plain["model"].items()}
        torch.save(plain, tmp_path / SESSION_FILE)
    heir, run = weighed(WAYS[way], 0.25, ancestor=tmp_path)
    assert torch.equal(heir.values["weights"], learned)
    assert float(heir.values["lr"]) == pytest.approx(0.1)  # the configuration's
    reasons = {row.hyperparameter: row.reason for row in heir.trace.rows}
    assert reasons["lr"] == "is the trial's own"
    assert all(row.value == 0.25 for row in heir.trace.rows if row.hyperparameter != "lr")
    assert reasons["weights[0]"] == f"is taken over from the ancestor; moves to {float(learned[0]):.4g}"
    heir.step(next(heir.batches(run.loader)))
    assert torch.equal(heir.values["weights"], learned)


def test_tensors_of_another_shape_or_beyond_the_bounds_are_not(tmp_path):
    elder, _ = weighed(WAYS["first-order"], 0.9)
    elder.save(tmp_path)
    other, _ = weighed(WAYS["first-order"], 0.25, shape=(5,), ancestor=tmp_path)
    assert other.values["weights"].tolist() == [0.25] * 5
    assert not other.trace.rows
    narrow, _ = weighed(WAYS["first-order"], 0.25, upper=0.5, ancestor=tmp_path)
    assert narrow.values["weights"].tolist() == [0.5] * 4


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
