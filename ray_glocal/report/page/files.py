"""Where the page and its data are written."""

from __future__ import annotations

import json
from pathlib import Path

from pyarrow.fs import LocalFileSystem

from ray_glocal.errors import ArgumentError
from ray_glocal.report.folder import opened
from ray_glocal.report.page.contents import Contents, plain
from ray_glocal.report.page.document import written

NAME = "report.html"


def beside(results: object) -> Path:
    """Where the page goes that nobody gave a place: into a local experiment's folder, else into the current one.

    Raises:
        ArgumentError: `results` is no experiment.
    """
    folder = opened(results)
    return Path(folder.path, NAME) if isinstance(folder.filesystem, LocalFileSystem) else Path(NAME)


def write_page(told: Contents, file: Path) -> None:
    """Write the page to `file`.

    Raises:
        ArgumentError: plotly is not installed, or the file cannot be written.
    """
    _write("html", file, written(told))


def write_data(told: Contents, file: Path) -> None:
    """Write what the page shows to `file`, as JSON with the keys that `Contents` documents.

    Raises:
        ArgumentError: The file cannot be written.
    """
    _write("json", file, json.dumps(plain(told), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n")


def _write(argument: str, file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(file)
    except OSError as error:
        raise ArgumentError(argument, "be a file that can be written", str(file), f"{error.strerror}.") from error
