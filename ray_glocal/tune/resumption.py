"""Whether an experiment can be gone on with, and what its trials return from."""

from __future__ import annotations

import fnmatch
import logging
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem

from ray_glocal.errors import ArgumentError
from ray_glocal.tune._compat import SNAPSHOT, TUNER, Trial, leave_lost_checkpoint
from ray_glocal.tune.ancestry import address
from ray_glocal.tune.retention import resumable
from ray_glocal.tune.storage import UNREADABLE, located

logger = logging.getLogger(__name__)


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
        remedy = f"Give what the Tuner was given, and `storage_filesystem` where it was one of your own. {error}"
        raise ArgumentError("path", "lie on storage that can be read", str(path), remedy) from error
    names = [entry.base_name for entry in found]
    return TUNER in names and bool(fnmatch.filter(names, SNAPSHOT))


def leave_for_what_is_left(trial: Trial) -> None:
    """A trial that returns shall not fail for good because somebody removed the checkpoint it returns from."""
    lost = leave_lost_checkpoint(trial, resumable)
    if lost is not None:
        now = address(trial)
        fate = f"it goes on from {now}" if now else "it starts afresh"
        logger.warning("The checkpoint %s of trial %s is gone: %s.", lost, trial.trial_id, fate)
