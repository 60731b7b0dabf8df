"""How many lines of code differ between the two scripts of `docs/from-asha`."""

from __future__ import annotations

import difflib
from pathlib import Path

FOLDER = Path(__file__).parent / "from-asha"


def code(script: str) -> list[str]:
    """Its lines without the first, which says what it is, and without those that are empty."""
    return [line for line in (FOLDER / script).read_text().splitlines()[1:] if line.strip()]


def changed() -> tuple[int, int, int]:
    """Lines of the new script that the old one has not, those of the old one that are gone, and all of the new one."""
    old, new = code("asha.py"), code("glocal.py")
    told = [line[:2] for line in difflib.ndiff(old, new)]
    return told.count("+ "), told.count("- "), len(new)


def sentence() -> str:
    """What the page says of it."""
    added, gone, total = changed()
    return f"{added} of {total} lines; {gone} lines of the old script are gone"
