"""The two files of a checkpoint: the weights for everybody, and what only an exact resume needs."""

import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import ray_glocal
from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.names import SESSION_FILE, TRACE_FILE
from ray_glocal.session import GlocalSession
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.state import checkpoint

from .cases import QUIET, WAYS, Run, differences, drive, run_saved

both = pytest.mark.parametrize("settings", WAYS.values(), ids=WAYS)


def resumes(folder):
    return sorted(folder.glob("resume-*"))


class Elsewhere:
    """A checkpoint in a storage that is no folder of this machine; whoever wants all of it asks for too much."""

    def __init__(self, folder):
        self.filesystem = pyarrow.fs.SubTreeFileSystem(str(folder.parent), pyarrow.fs.LocalFileSystem())
        self.path = folder.name

    def as_directory(self):
        raise AssertionError("the whole folder was fetched")


@both
@pytest.mark.parametrize("place", [str, lambda folder: folder, Elsewhere])
def test_the_weights_of_an_ended_trial_are_there_for_everybody(tmp_path, place, settings):
    run = run_saved(tmp_path / "ended", settings=settings)
    for file in resumes(tmp_path / "ended"):
        file.unlink()
    assert differences(dict(run.model.state_dict()), ray_glocal.weights(place(tmp_path / "ended"))) == []
    fresh = Run()
    fresh.model.load_state_dict(ray_glocal.weights(place(tmp_path / "ended")))
    assert differences(dict(run.model.state_dict()), dict(fresh.model.state_dict())) == []


@both
def test_averaged_weights_fit_the_model_as_well(tmp_path, settings):
    run = Run(settings=settings)
    averaged = AveragedModel(run.model)
    session = run.session(averaged=averaged)
    drive(session, session.batches(run.loader), 20)
    session.save(tmp_path)
    told = ray_glocal.weights(tmp_path, averaged=True)
    assert differences(dict(averaged.module.state_dict()), told) == []
    assert differences(dict(run.model.state_dict()), told) != []
    Run().model.load_state_dict(told)


@both
def test_a_sessions_own_average_is_what_it_reports_on(tmp_path, settings):
    run = Run(settings=replace(settings, averaging=True))
    session = run.session()
    (report,) = drive(session, session.batches(run.loader), 20)
    session.save(tmp_path)
    told = ray_glocal.weights(tmp_path, averaged=True)
    assert differences(dict(run.model.state_dict()), told) != []
    with session.averaged_weights():
        assert differences(dict(run.model.state_dict()), told) == []
    run.model.load_state_dict(told)
    whole = session.validation.mean(lambda batches: session.problem.mean_val_loss(batches, session.values))
    assert whole == report["val_loss"]


def test_averaged_weights_that_are_not_there(tmp_path):
    run_saved(tmp_path)
    text = (
        r"`source` must hold averaged weights; got .* Leave `averaged` out: .* none, by `Settings\(averaging=False\)`."
    )
    with pytest.raises(ArgumentError, match=text):
        ray_glocal.weights(tmp_path, averaged=True)


@both
def test_a_descendant_needs_the_weights_alone(tmp_path, settings):
    ancestor = run_saved(tmp_path / "ended", settings=settings)
    for file in resumes(tmp_path / "ended"):
        file.unlink()
    run = Run(settings=settings)
    session = run.session(hyper=Adapted(run.hyper, ancestor=Elsewhere(tmp_path / "ended")))
    session.restore(None)
    assert differences(dict(ancestor.model.state_dict()), dict(run.model.state_dict())) == []
    assert not session.notices.said("ancestor")
    assert not session.metrics()["searching"], "the learning rate came along"


@both
def test_an_ended_trial_is_not_resumed_and_the_way_out_is_said(tmp_path, settings):
    run_saved(tmp_path, settings=settings)
    (resume,) = resumes(tmp_path)
    resume.unlink()
    text = (
        rf"`source` must hold the file '{resume.name}' to be resumed from; got '{tmp_path}'. Its trial had ended, and "
        r"of ended trials the weights alone are kept .*: load them by `model.load_state_dict\(ray_glocal.weights\(so"
    )
    run = Run(settings=settings)
    session = run.session()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=text):
        session.restore(tmp_path)
    assert differences(before, dict(run.model.state_dict())) == []


def test_a_damaged_part_is_named(tmp_path):
    run_saved(tmp_path)
    (resume,) = resumes(tmp_path)
    resume.write_bytes(resume.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"`source` must hold a readable file '{resume.name}'; got") as caught:
        Run().session().restore(tmp_path)
    assert caught.value.__cause__ is not None


def test_a_byte_that_is_wrong_is_never_met_by_the_way_in_which_pickle_fails(tmp_path):
    """Each byte of what is no tensor in turn: the file is refused, or it says the same, or something else of a kind."""
    torch.save({"version": 11, "step": 3, "values": {"lr": torch.tensor(0.1)}}, tmp_path / SESSION_FILE)
    whole, refused = (tmp_path / SESSION_FILE).read_bytes(), 0
    for place in range(0, whole.index(b".data/serialization_id"), 3):
        (tmp_path / SESSION_FILE).write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        try:
            checkpoint.read(tmp_path)
        except CheckpointError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("place", [lambda folder: folder, Elsewhere])
def test_a_checkpoint_without_a_session_says_so_wherever_it_lies(tmp_path, place):
    (tmp_path / "none").mkdir()
    with pytest.raises(CheckpointError, match=f"`source` must hold a file '{SESSION_FILE}'; got .* Pass a folder that"):
        ray_glocal.weights(place(tmp_path / "none"))


def test_what_is_no_checkpoint_is_refused():
    with pytest.raises(ArgumentError, match=r"`source` must be a folder or a checkpoint; got None. Where `tune.get_ch"):
        ray_glocal.weights(None)


@pytest.mark.parametrize("damage", ["gone", "cut off", "another table"])
def test_a_damaged_trace_is_named_and_the_weights_stay(tmp_path, damage):
    run_saved(tmp_path)
    trace = tmp_path / TRACE_FILE
    if damage == "gone":
        trace.unlink()
    elif damage == "cut off":
        trace.write_bytes(trace.read_bytes()[:-10])
    else:
        pq.write_table(pa.table({"another": [1]}), trace)
    run = Run()
    session = run.session()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"`source` must hold a readable file '{TRACE_FILE}'; got '{tmp_path}'"):
        session.restore(tmp_path)
    assert differences(before, dict(run.model.state_dict())) == []
    assert session.step_count == 0


def test_a_session_of_the_other_way_is_not_gone_on_with(tmp_path):
    run_saved(tmp_path, settings=WAYS["windows"])
    with pytest.raises(CheckpointError, match="hypergradients"):
        Run(settings=WAYS["first-order"]).session().restore(tmp_path)


@both
@pytest.mark.parametrize("survived", range(4))
def test_a_save_into_the_same_folder_that_dies_anywhere_leaves_one_that_can_be_resumed(
    tmp_path, monkeypatch, survived, settings
):
    """Of the calls that change the folder so many are survived: write, rename, write, rename."""
    run = Run(settings=settings)
    session = run.session()
    drive(session, session.batches(run.loader), 20)
    session.save(tmp_path)
    drive(session, session.batches(run.loader), 30)
    left = iter(range(survived))

    def mortal(call):
        def called(*arguments):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return call(*arguments)

        return called

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", mortal(torch.save))
        patched.setattr(os, "replace", mortal(os.replace))
        with pytest.raises(KeyboardInterrupt):
            session.save(tmp_path)
    again = Run(settings=settings).session()
    again.restore(tmp_path)
    assert again.step_count == 20
    session.save(tmp_path)
    assert len(resumes(tmp_path)) == 1
    again.restore(tmp_path)
    assert again.step_count == 30


def test_the_weights_take_no_more_than_their_size(tmp_path):
    """The rest is in the other file."""
    model = torch.nn.Linear(1000, 300)

    def loss(model, batch):
        return (model(batch) - 1).square().mean()

    batches = [torch.ones(4, 1000)]
    adamw, lr = torch.optim.AdamW(model.parameters()), Hyperparameter("lr", 1e-3, 1e-5, 1.0, "log")
    session = GlocalSession(model, adamw, loss, loss, val_batches=batches, hyper=[lr], total_steps=60, settings=QUIET)
    drive(session, session.batches(batches), 12)
    session.save(tmp_path)
    size = 4 * 1001 * 300  # bytes of weights and biases
    assert (tmp_path / SESSION_FILE).stat().st_size < size + 100_000
    assert resumes(tmp_path)[0].stat().st_size > 3 * size


def test_a_checkpoint_is_packaged_as_its_taker_wants(tmp_path):
    run = Run()
    session = run.session(hyper=Adapted(run.hyper, package=lambda path: ("packed", path)))
    word, path = session.checkpoint()
    assert word == "packed"
    assert (path / SESSION_FILE).exists()
    session.close()
