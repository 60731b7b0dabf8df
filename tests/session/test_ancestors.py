"""Ancestors: whose weights are taken, and when training starts afresh."""

import shutil
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from ray_glocal.names import SESSION_FILE
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.state.checkpoint import read

from .cases import LIVELY, WAYS, Network, Run, differences
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
