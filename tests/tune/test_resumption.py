"""Whether there is an experiment to go on with: on any storage, and not before Tune has saved what it knows."""

from pathlib import Path

import pyarrow.fs
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.tune import restorable


@pytest.mark.parametrize(
    ("files", "right"),
    [
        ([], False),
        (["tuner.pkl"], False),  # which is there before anything runs, and for which `can_restore` is true
        (["experiment_state-2026-01-01_00-00-00.json"], False),  # of `tune.run`
        (["tuner.pkl", "experiment_state-2026-01-01_00-00-00.json"], True),
    ],
)
def test_it_takes_the_tuner_and_a_snapshot(tmp_path, files, right):
    for name in files:
        Path(tmp_path, name).touch()
    assert restorable(tmp_path) is right
    assert restorable(tmp_path.as_uri()) is right
    apart = pyarrow.fs.SubTreeFileSystem(str(tmp_path.parent), pyarrow.fs.LocalFileSystem())
    assert restorable(tmp_path.name, apart) is right


def test_a_folder_that_is_not_there_is_no_experiment(tmp_path):
    assert not restorable(tmp_path / "gone")


def test_storage_that_cannot_be_read_is_an_error_and_no_new_experiment(tmp_path):
    Path(tmp_path, "file").touch()
    for path in (tmp_path / "file", "nowhere://b/c"):
        with pytest.raises(ArgumentError, match="`path` must lie on storage that can be read; got"):
            restorable(path)
