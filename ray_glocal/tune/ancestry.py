"""Ancestors' checkpoints: handed to the workers of their descendants as text, and opened there.

The configuration stays the user's own: what is handed down travels beside it, with the trial's storage. Text holds no
endpoint and no credentials, so an address is opened through the filesystem of the experiment at hand wherever it is of
that kind, and by its scheme alone elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pyarrow.fs import FileSystem, FileType
from ray.tune import Checkpoint

from ray_glocal.tune._compat import (
    Ground,
    Trial,
    ground_of_function,
    ground_of_trainable,
    last_checkpoint,
    runs_function_trial,
)
from ray_glocal.tune.storage import UNREADABLE, located

# pyarrow's names of the filesystems that an address alone leads to, and their schemes.
_SCHEMES = {"s3": "s3", "gcs": "gs", "abfs": "abfs", "hdfs": "hdfs"}

_of_class: ContextVar[Ground | None] = ContextVar("ground of a class trainable", default=None)

logger = logging.getLogger(__name__)


def address(trial: Trial) -> str | None:
    """Where a trial's last checkpoint lies, if it has one, as text: a path where that is local, else with a scheme."""
    checkpoint = last_checkpoint(trial)
    if checkpoint is None:
        return None
    scheme = _scheme(checkpoint.filesystem)
    return str(checkpoint.path) if scheme is None else f"{scheme}://{checkpoint.path}"


def ancestor() -> Checkpoint | None:
    """The checkpoint that the trial of this worker starts from; None where it has none.

    Where it is not there, that is said in a warning.
    """
    ground = ground_of_function() or _of_class.get() or Ground()
    if not ground.checkpoint:
        return None
    try:
        checkpoint = _checkpoint(ground.checkpoint, ground.filesystem)
        if checkpoint.filesystem.get_file_info(checkpoint.path).type == FileType.Directory:
            return checkpoint
    except UNREADABLE as error:
        trouble = f"cannot be opened: {error}"
    else:
        trouble = "is gone"
    sources = ground.checkpoint, ground.ancestor, trouble
    logger.warning("The checkpoint %s of ancestor %s %s: starting afresh.", *sources)
    return None


def known() -> bool:
    """Whether this is a trial's function, or a class trainable that has said whose it is."""
    return runs_function_trial() or _of_class.get() is not None


@contextmanager
def storage_of(trainable: object) -> Iterator[None]:
    """Let `adapted` know the trial that a class trainable runs; that of a function is known by itself."""
    token = _of_class.set(ground_of_trainable(trainable))
    try:
        yield
    finally:
        _of_class.reset(token)


def _checkpoint(place: str, own: FileSystem | None) -> Checkpoint:
    scheme, mark, path = place.partition("://")
    if own is not None and _scheme(own) == (scheme if mark else None):
        return Checkpoint(path if mark else place, own)
    filesystem, found = located(place)
    return Checkpoint(found, filesystem)


def _scheme(filesystem: FileSystem) -> str | None:
    kind = filesystem.type_name
    return None if kind == "local" else _SCHEMES.get(kind, kind)
