"""The folder that Tune leaves behind, on a disk or in a bucket."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from pyarrow import ArrowException, fs

from ray_glocal.errors import ArgumentError
from ray_glocal.names import EXPERIMENT_STATE

TRIAL_FILES = frozenset({"params.json", "result.json", "progress.csv"})
_FSSPEC = "py::fsspec"  # what pyarrow's name of a filesystem of fsspec's begins with
_SCHEMES = {"gcs": "gs"}  # of filesystems that pyarrow names otherwise
_HINT = f"Give the folder that holds {EXPERIMENT_STATE}*.json and one folder for each trial."


@dataclass(frozen=True)
class RemoteFolder:
    """A folder on any filesystem that pyarrow knows.

    Args:
        filesystem: Where it is.
        path: Its path there.
        typed: Its address, where somebody typed one: a path alone does not tell its scheme or its endpoint.
    """

    filesystem: Any
    path: str
    typed: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def address(self) -> str:
        """What leads here from anywhere on this machine, as far as that is known: a path, else with a scheme."""
        kind = self.filesystem.type_name
        if kind == "local":
            return self.path
        if self.typed:
            return self.typed
        if kind.startswith(_FSSPEC):
            return f"fsspec+{self.filesystem.handler.fs.unstrip_protocol(self.path)}"
        return f"{_SCHEMES.get(kind, kind)}://{self.path}"

    def files(self) -> list[str]:
        """Names of the files in it, sorted."""
        return sorted(entry.base_name for entry in self._entries() if entry.type == fs.FileType.File)

    def folders(self) -> list[RemoteFolder]:
        """The folders in it, sorted by name."""
        inside = sorted((e.path, e.base_name) for e in self._entries() if e.type == fs.FileType.Directory)
        return [RemoteFolder(self.filesystem, path, self._typed(name)) for path, name in inside]

    def _typed(self, name: str) -> str:
        """The address of a folder in it; options, an endpoint say, stand at an address's end."""
        place, mark, options = self.typed.partition("?")
        return f"{place.rstrip('/')}/{name}{mark}{options}" if self.typed else ""

    def content(self, name: str) -> bytes:
        """The whole file `name`."""
        with self.filesystem.open_input_stream(f"{self.path.rstrip('/')}/{name}") as stream:
            return bytes(stream.read())

    def _entries(self) -> list[Any]:
        return list(self.filesystem.get_file_info(fs.FileSelector(self.path)))


def opened(results: object) -> RemoteFolder:
    """The folder of an experiment.

    Args:
        results: A path or address, or what Tune returned: a `ResultGrid` or an `ExperimentAnalysis`.

    Raises:
        ArgumentError: There is no such folder, it cannot be read, or it holds no experiment.
    """
    folder = _located(results)
    try:
        return _checked(folder)
    except (OSError, ArrowException) as error:  # no rights there, or a network that does not answer
        remedy = f"Check its address, and that you may read it. {error}"
        raise ArgumentError("results", "be a folder that can be read", folder.path, remedy) from error


def _checked(folder: RemoteFolder) -> RemoteFolder:
    if folder.filesystem.get_file_info(folder.path).type != fs.FileType.Directory:
        raise ArgumentError("results", "be the folder of an experiment", folder.path, f"There is none. {_HINT}")
    files = folder.files()
    if TRIAL_FILES & set(files):
        remedy = "This is the folder of one trial; give the folder that it lies in."
        raise ArgumentError("results", "be the folder of an experiment", folder.path, remedy)
    inside = folder.folders()
    if any(name.startswith(EXPERIMENT_STATE) for name in files) or any(TRIAL_FILES & set(f.files()) for f in inside):
        return folder
    experiments = [f.name for f in inside if any(name.startswith(EXPERIMENT_STATE) for name in f.files())]
    among = f"It holds experiments, though: {', '.join(experiments)}. Give one of them." if experiments else _HINT
    raise ArgumentError("results", "be the folder of an experiment", folder.path, among)


def _located(results: object) -> RemoteFolder:
    address = getattr(results, "experiment_path", results)
    if not isinstance(address, str | os.PathLike):
        remedy = "Give a path, a ResultGrid or an ExperimentAnalysis."
        raise ArgumentError("results", "be the folder of an experiment", results, remedy)
    filesystem = _filesystem(results)
    if filesystem is not None:
        return RemoteFolder(filesystem, os.fspath(address))
    text = os.fspath(address)
    if "://" in text:
        return _at(text)
    return RemoteFolder(fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text)))


def _filesystem(results: object) -> Any:
    """Where Tune's own objects lie, which name paths without their scheme; None for a path."""
    if hasattr(results, "default_metric"):  # an ExperimentAnalysis, whose filesystem a ResultGrid makes public
        from ray.tune import ResultGrid

        results = ResultGrid(results)
    return getattr(results, "filesystem", None)


def _at(address: str) -> RemoteFolder:
    try:
        filesystem, path = fs.FileSystem.from_uri(address)
    except (ValueError, OSError) as error:  # pyarrow's errors for a scheme it does not know and a bucket it cannot find
        remedy = f"{error}. fsspec's are opened as fsspec+{address}."
        raise ArgumentError("results", "be an address that pyarrow can open", address, remedy) from error
    return RemoteFolder(filesystem, path, address)
