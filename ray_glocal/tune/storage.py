"""Places on storage, as users name them."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem

from ray_glocal.errors import ArgumentError

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


def fetch(place: str | Path, folder: str | Path, *patterns: str) -> None:
    """Copy the files of a place whose names match a pattern into a local folder; those of folders in it are left.

    Raises:
        ArgumentError: The place cannot be read.
    """
    try:
        filesystem, there = located(place)
        for found in filesystem.get_file_info(FileSelector(there)):
            if any(fnmatch.fnmatch(found.base_name, pattern) for pattern in patterns):
                with filesystem.open_input_stream(found.path) as file:
                    Path(folder, found.base_name).write_bytes(file.read())
    except UNREADABLE as error:
        rule = "be the folder of an experiment that can be read"
        remedy = f"Give its path, or its address as pyarrow opens it. {error}"
        raise ArgumentError("from_experiment", rule, str(place), remedy) from error
