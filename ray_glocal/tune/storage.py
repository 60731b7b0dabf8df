"""Places on storage, as users name them."""

from __future__ import annotations

from pathlib import Path

from pyarrow import ArrowException
from pyarrow.fs import FileSystem

UNREADABLE = (OSError, ArrowException)  # what pyarrow raises where a place is not there, not known or not allowed


def located(path: str | Path, filesystem: FileSystem | None = None) -> tuple[FileSystem, str]:
    """The filesystem of a folder or a URI, and the path there; a path on `filesystem` where one is given.

    Raises:
        OSError: The storage cannot be reached.
        ArrowException: The URI is of no kind that pyarrow knows.
    """
    if filesystem is not None:
        return filesystem, str(path)
    place = str(path) if "://" in str(path) else str(Path(path).expanduser().absolute())
    found: tuple[FileSystem, str] = FileSystem.from_uri(place)
    return found
