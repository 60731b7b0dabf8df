"""Checkpoints that cannot be read, written or resumed from: what is wrong, what was got, and the way out."""

from collections import OrderedDict, namedtuple
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.names import SESSION_FILE
from ray_glocal.session.state.checkpoint import read

from .cases import PROMPT, WAYS, Run, differences, drive, run_saved

LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")


def saved(folder, at=20, **arguments):
    run_saved(folder, at, **arguments)
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
