"""A hyperparameter that nobody reads: every trial would fail at its first step, so the experiment ends at the first.

Which names are read is known where model and optimizer are built, on the workers: the session complains there, and
Tune leaves the complaint in a file of the trial's.
"""

from __future__ import annotations

import re
from pathlib import Path

from ray_glocal.errors import ArgumentError, UnreadError
from ray_glocal.names import FAILURE
from ray_glocal.tune._compat import Trial, error_file

# The end of a traceback: the name of the class, the rule, the name that nobody reads, and the way out.
_COMPLAINT = re.compile(rf"\b{UnreadError.__name__}: `\w+` must .*?; got (['\"])(.+?)\1\.(.*)")


def check_read(trial: Trial) -> None:
    """Complain in the driver where a trial failed because a name of its space is read by nobody.

    Args:
        trial: One that has failed.

    Raises:
        ArgumentError: It failed for that.
    """
    path = error_file(trial)
    # The last alone, for what an earlier driver complained of may have been mended since.
    complaint = None if path is None else _COMPLAINT.search(_text(Path(path)).rpartition(FAILURE)[2])
    if complaint is not None:
        remedy = f"{complaint[3].strip()} Or say what to adapt, `adapt=[...]`, to GlocalSearch and `adapted` alike."
        rule = "adapt only what the optimizer or a loss reads"
        raise ArgumentError("space", rule, complaint[2], remedy)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
