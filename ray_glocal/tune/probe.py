"""What a node says of itself before an experiment: which `ray_glocal` it would run, and whether it reaches the storage.

`look` travels to nodes on which `ray_glocal` may be missing, so it needs nothing but the standard library and PyArrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyarrow.fs import FileSystem


@dataclass(frozen=True)
class NodeAnswer:
    """What a node said.

    Args:
        version: Of its `ray_glocal`: "unknown" where that is there without being installed, empty where it is missing.
        digest: Of the files of its `ray_glocal`: one version may have been edited.
        trouble: What went wrong with the storage; empty where the node reads and writes it.
    """

    version: str
    digest: str
    trouble: str


Look = Callable[[FileSystem, str, str], tuple[str, str, str]]


def look() -> Look:
    """A function of a filesystem, a folder and a node's name that looks around; see `NodeAnswer` for what it returns.

    It is made here, inside another function, for such are sent to workers by value and not by the name of their module.
    The folder holds a file `driver`; the node leaves one under its own name beside it.
    """

    def looking(filesystem: FileSystem, folder: str, name: str) -> tuple[str, str, str]:
        import hashlib
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec
        from pathlib import Path

        from pyarrow import ArrowException
        from pyarrow.fs import FileType

        spec = find_spec("ray_glocal")
        release, digest = "", hashlib.sha256()
        if spec is not None and spec.origin is not None:
            try:
                release = version("ray_glocal")
            except PackageNotFoundError:  # sent along as a folder
                release = "unknown"
            root = Path(spec.origin).parent
            for file in sorted(root.rglob("*.py")):
                digest.update(str(file.relative_to(root)).encode() + file.read_bytes())
        trouble = ""
        try:
            if filesystem.get_file_info(f"{folder}/driver").type != FileType.File:
                trouble = "what the driver writes there is not there"
            else:
                with filesystem.open_output_stream(f"{folder}/{name}") as stream:
                    stream.write(b"here")
        except (OSError, ArrowException) as error:
            trouble = str(error)
        return release, digest.hexdigest()[:12], trouble

    return looking
