"""Ancestors' checkpoints: written into configurations as text, opened by the workers of their descendants.

Text holds no endpoint and no credentials, so an address is opened through the filesystem of the experiment at hand
wherever it is of that kind, and by its scheme alone elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pyarrow.fs import FileSystem, FileType
from ray.tune import Checkpoint

from ray_glocal.tune._compat import Trial, filesystem_of_function, filesystem_of_trainable, last_checkpoint
from ray_glocal.tune.storage import UNREADABLE, located

ANCESTOR = "glocal_ancestor"  # key of a configuration under which `GlocalSearch` names the trial it hands down from

# pyarrow's names of the filesystems that an address alone leads to, and their schemes.
_SCHEMES = {"s3": "s3", "gcs": "gs", "abfs": "abfs", "hdfs": "hdfs"}

_of_class: ContextVar[FileSystem | None] = ContextVar("filesystem of a class trainable", default=None)

logger = logging.getLogger(__name__)


def address(trial: Trial) -> str | None:
    """Where a trial's last checkpoint lies, if it has one, as text: a path where that is local, else with a scheme."""
    checkpoint = last_checkpoint(trial)
    if checkpoint is None:
        return None
    scheme = _scheme(checkpoint.filesystem)
    return str(checkpoint.path) if scheme is None else f"{scheme}://{checkpoint.path}"


def ancestor(config: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint that a configuration names its trial's ancestor by; None, and a warning, where it is not there."""
    named = config.get(ANCESTOR) or {}
    place = named.get("checkpoint")
    if not place:
        return None
    try:
        checkpoint = _checkpoint(str(place))
        if checkpoint.filesystem.get_file_info(checkpoint.path).type == FileType.Directory:
            return checkpoint
    except UNREADABLE as error:
        trouble = f"cannot be opened: {error}"
    else:
        trouble = "is gone"
    logger.warning("The checkpoint %s of ancestor %s %s: starting afresh.", place, named.get("trial"), trouble)
    return None


@contextmanager
def storage_of(trainable: object) -> Iterator[None]:
    """Let ancestors be opened through the storage of a class trainable; that of a function is known by itself."""
    token = _of_class.set(filesystem_of_trainable(trainable))
    try:
        yield
    finally:
        _of_class.reset(token)


def _checkpoint(place: str) -> Checkpoint:
    scheme, mark, path = place.partition("://")
    own = filesystem_of_function() or _of_class.get()
    if own is not None and _scheme(own) == (scheme if mark else None):
        return Checkpoint(path if mark else place, own)
    filesystem, found = located(place)
    return Checkpoint(found, filesystem)


def _scheme(filesystem: FileSystem) -> str | None:
    kind = filesystem.type_name
    return None if kind == "local" else _SCHEMES.get(kind, kind)
