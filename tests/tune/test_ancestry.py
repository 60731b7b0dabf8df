"""Ancestors' checkpoints: what their addresses say, and through which filesystem they are opened."""

import json
from pathlib import Path

import fsspec
import pyarrow.fs
import pytest
import torch
import trainables
from ray import tune
from ray.tune.experiment import Trial

from ray_glocal import Hyperparameter, adapted
from ray_glocal.session.arguments import adapted_of
from ray_glocal.tune import GlocalScheduler, GlocalSearch
from ray_glocal.tune._compat import hand_down
from ray_glocal.tune.ancestry import address, ancestor, storage_of

LOCAL = fsspec.filesystem("file")


class Stub:
    def __init__(self, **held):
        vars(self).update(held)


def descendant_of(place, filesystem=None):
    """Where the worker of a trial that starts from a checkpoint looks."""
    trial = Stub(storage=Stub(storage_filesystem=filesystem))
    hand_down(trial, "x", place)
    return storage_of(Stub(_storage=trial.storage))


def own(folder):
    """A filesystem of a user's own, as `s3fs` is one: no address leads to it."""
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fsspec.filesystem("dir", path=str(folder), fs=LOCAL)))


def written(filesystem, folder):
    """A checkpoint's folder with one file, and the trial whose last one it is."""
    filesystem.create_dir(folder, recursive=True)
    with filesystem.open_output_stream(f"{folder}/state.json") as file:
        file.write(b'{"step": 7}')
    return Stub(checkpoint=tune.Checkpoint(folder, filesystem))


def step_of(checkpoint):
    with checkpoint.as_directory() as folder:
        return json.loads(Path(folder, "state.json").read_text())["step"]


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("local", "/b/c"),
        ("s3", "s3:///b/c"),
        ("gcs", "gs:///b/c"),
        ("py::fsspec+x", "py::fsspec+x:///b/c"),
    ],
)
def test_addresses_carry_their_filesystem(kind, place):
    assert address(Stub(checkpoint=Stub(path="/b/c", filesystem=Stub(type_name=kind)))) == place


def test_a_trial_without_a_checkpoint_has_no_address():
    assert address(Trial("stub", stub=True)) is None
    assert ancestor() is None
    with storage_of(Stub(_storage=Stub(storage_filesystem=None))):
        assert ancestor() is None


def test_what_no_space_holds_is_added_and_the_ancestor_stays_known(tmp_path):
    """By `+` everywhere; in a list, too, where the trial is known by itself, as it is in `GlocalTrainable.build`."""
    place = address(written(pyarrow.fs.LocalFileSystem(), str(tmp_path / "a")))
    space, many = {"lr": tune.loguniform(1e-4, 1.0)}, Hyperparameter("weights", torch.ones(20))
    with descendant_of(place):
        told = adapted({"lr": 0.1}, space)
        listed = adapted_of([*told, many])
    for hyper in (told.__add__([many]), listed):
        assert [each.name for each in hyper] == ["lr", "weights"]
        assert step_of(hyper.ancestor) == 7
        assert hyper.package == tune.Checkpoint.from_directory
    assert adapted_of([*told, many]).ancestor is None


@pytest.mark.parametrize("make", ["local", "subtree", "fsspec"])
def test_what_is_written_through_the_experiments_filesystem_is_read_through_it(tmp_path, make):
    local = pyarrow.fs.LocalFileSystem()
    folder = str(tmp_path / "a") if make == "local" else "root/a"
    kinds = {"local": local, "subtree": pyarrow.fs.SubTreeFileSystem(str(tmp_path), local), "fsspec": own(tmp_path)}
    filesystem = kinds[make]
    place = address(written(filesystem, folder))
    with descendant_of(place, filesystem):
        assert step_of(ancestor()) == 7
    with descendant_of(place + "-gone", filesystem):
        assert ancestor() is None


def test_the_filesystem_of_another_kind_is_left_alone(tmp_path):
    """An experiment that was begun on a disk and goes on elsewhere has ancestors in both."""
    place = address(written(pyarrow.fs.LocalFileSystem(), str(tmp_path / "a")))
    with descendant_of(place, own(tmp_path)):
        assert step_of(ancestor()) == 7


@pytest.mark.parametrize(
    ("place", "trouble"),
    [
        ("/nowhere/at/all", "is gone"),
        ("nowhere://b/c", "cannot be opened: Unrecognized filesystem type"),
        ("py::fsspec+dir://b/c", "cannot be opened: Unrecognized filesystem type"),
        ("s3://no-bucket/c?endpoint_override=127.0.0.1%3A9&scheme=http&region=x&connect_timeout=1", "cannot be opened"),
        ("file:///nowhere/at/all", "is gone"),
    ],
)
def test_what_cannot_be_opened_is_said_and_done_without(monkeypatch, caplog, place, trouble):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with descendant_of(place):
        assert ancestor() is None
    (sentence,) = [record.getMessage() for record in caplog.records]
    assert sentence.startswith(f"The checkpoint {place} of ancestor x {trouble}")
    assert sentence.endswith(": starting afresh.")


def test_a_file_is_no_checkpoint(tmp_path, caplog):
    Path(tmp_path, "file").touch()
    with descendant_of(str(tmp_path / "file")):
        assert ancestor() is None
    assert "is gone: starting afresh" in caplog.text


@pytest.mark.cluster
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["function", "class"])
def test_workers_open_what_only_the_experiments_own_filesystem_leads_to(local_ray, tmp_path, kind):
    search = GlocalSearch(trainables.SPACE, "val_loss", "min", seed=0)
    analysis = tune.run(
        {"function": trainables.inheriting, "class": trainables.Inheriting}[kind],
        config=trainables.SPACE,
        num_samples=10,
        search_alg=search,
        scheduler=GlocalScheduler(grace_period=1),
        max_concurrent_trials=1,
        reuse_actors=True,
        verbose=0,
        storage_path="root",
        storage_filesystem=pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem()),
    )
    handed = [row for row in search.proposals() if row["weights"]]
    assert handed
    assert all(row["weights"].startswith("subtree://root/") for row in handed)
    assert {name for trial in analysis.trials for name in trial.config} <= {*trainables.SPACE}, "nothing of ours"
    told = {trial.trial_id: trial.last_result for trial in analysis.trials}
    opened = {name for name, result in told.items() if result["opened"]}
    assert opened == {row["trial"] for row in handed}, "and an actor that is used again forgets the one before"
    assert not any(result["unread"] for result in told.values())
