"""Files of text that are written whole or not at all."""

import os
from pathlib import Path

from ray_glocal.errors import ArgumentError


def write(argument: str, file: Path, text: str) -> None:
    """Write a file; who reads it meanwhile sees what was there before.

    Args:
        argument: What the caller calls it.
        file: Where to.
        text: What is to be in it.

    Raises:
        ArgumentError: It cannot be written.
    """
    rule = "be a file that can be written"
    if file.is_dir():
        raise ArgumentError(argument, rule, str(file), "It is a folder: name a file in it.")
    unfinished = file.with_name(f".{file.name}.part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, file)
    except OSError as error:
        remedy = f"{error.strerror}: name a file in a folder that is there and may be written to."
        raise ArgumentError(argument, rule, str(file), remedy) from error
