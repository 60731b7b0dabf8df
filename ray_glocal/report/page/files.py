"""Where the page and its data are written."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pyarrow.fs import LocalFileSystem

from ray_glocal.report.folder import opened
from ray_glocal.report.page.contents import Contents, plain
from ray_glocal.report.page.document import written
from ray_glocal.writing import write

NAME = "report.html"


def beside(results: object) -> Path:
    """Where the page goes that nobody gave a place: into the experiment's folder, or into the current one.

    The current one where the experiment is not on this machine, or its folder may not be written to.

    Raises:
        ArgumentError: `results` is no experiment.
    """
    folder = opened(results)
    here = isinstance(folder.filesystem, LocalFileSystem) and os.access(folder.path, os.W_OK)
    return Path(folder.path, NAME) if here else Path(NAME)


def write_page(content: Contents, file: Path) -> None:
    """Write the page to `file`.

    Raises:
        ArgumentError: plotly is not installed, or the file cannot be written.
    """
    write("html", file, written(content))


def write_data(content: Contents, file: Path) -> None:
    """Write what the page shows to `file`, as JSON with the keys that `Contents` documents.

    Raises:
        ArgumentError: The file cannot be written.
    """
    write("json", file, json.dumps(plain(content), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n")
