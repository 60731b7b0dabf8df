"""The wall between the suites: each look at the held-out one is written down, with its reason, before it is taken."""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from study import commit

NAME = "looks.json"


def looked(folder: Path, reason: str) -> None:
    """Write a look down.

    Args:
        folder: Of the held-out suite's page.
        reason: Why it is taken.

    Raises:
        SystemExit: No reason is given.
    """
    if not reason.strip():
        sys.exit("The held-out suite is run only for what is published: say why, by --reason TEXT. Every look counts.")
    told = _read(folder)
    look = {"date": f"{datetime.now(timezone.utc):%Y-%m-%d}", "commit": commit(), "reason": reason}
    if not told or {k: told[-1][k] for k in ("commit", "reason")} != {k: look[k] for k in ("commit", "reason")}:
        folder.mkdir(parents=True, exist_ok=True)  # going on after an interruption is no further look
        (folder / NAME).write_text(json.dumps([*told, look], indent=1) + "\n")


def looks(folder: Path) -> str:
    """The looks taken so far, as a page tells them."""
    told = _read(folder)
    lines = [f"{number}. {look['date']}, {look['commit']}: {look['reason']}" for number, look in enumerate(told, 1)]
    return "\n\n## Looks at this suite\n\n" + ("\n".join(lines) or "None.")


def _read(folder: Path) -> list[dict[str, str]]:
    place = folder / NAME
    return json.loads(place.read_text()) if place.exists() else []
