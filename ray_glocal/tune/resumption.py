"""Whether an experiment can be gone on with."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem

from ray_glocal.errors import ArgumentError
from ray_glocal.tune._compat import SNAPSHOT, TUNER
from ray_glocal.tune.storage import UNREADABLE, located


def restorable(path: str | Path, storage_filesystem: FileSystem | None = None) -> bool:
    """Whether `Tuner.restore` finds an experiment at `path`: true only once Tune has saved what it knows of its trials.

    `Tuner.can_restore` is true from the first moment on, when there is nothing yet to be restored.

    Args:
        path: The experiment's folder: `storage_path` and the experiment's name, a path or a URI.
        storage_filesystem: As in `tune.RunConfig`; `path` is then a path on it.

    Raises:
        ArgumentError: The storage cannot be read. A folder that is not there is no experiment, and no error.
    """
    try:
        filesystem, folder = located(path, storage_filesystem)
        found = filesystem.get_file_info(FileSelector(folder, allow_not_found=True))
    except UNREADABLE as error:
        raise ArgumentError("path", "lie on storage that can be read", str(path), str(error)) from error
    names = [entry.base_name for entry in found]
    return TUNER in names and bool(fnmatch.filter(names, SNAPSHOT))
