"""Why trials failed: the ends of the tracebacks that Tune left in their folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ray_glocal.names import FAILURE
from ray_glocal.report.trial import Run, kind_of

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r'  File "(?:[^"]*[/\\])?([^"/\\]+)", line (\d+)')


@dataclass(frozen=True)
class Failed:
    """An error that ended trials.

    Args:
        text: The error, its first line, with the figures of the first trial, and where it was raised.
        trials: Those that it ended.
    """

    text: str
    trials: tuple[str, ...]


def failures(runs: Sequence[Run]) -> tuple[Failed, ...]:
    """What ended the trials that failed, each kind of error once, the most frequent first."""
    kinds: dict[str, dict[str, str]] = {}
    for run in runs:
        if run.failed:
            text = cause(run.error)
            kinds.setdefault(kind_of(text), {})[run.id] = text
    found = (Failed(next(iter(texts.values())), tuple(texts)) for texts in kinds.values())
    return tuple(sorted(found, key=lambda each: -len(each.trials)))


def cause(error: str) -> str:
    """The error that Tune's file tells of, its first line and its place; of several failures the last."""
    lines = _COLOUR.sub("", error.rpartition(FAILURE)[2]).splitlines()[1:]  # the first is the number and the date
    places = [i for i, line in enumerate(lines) if _PLACE.match(line)]
    after = lines[places[-1] + 1 :] if places else lines
    sentence = next((line for line in after if line.strip() and not line.startswith((" ", "ray::"))), "")
    if not sentence:
        return "an error of which Tune left no record"
    place = _PLACE.match(lines[places[-1]]) if places else None
    return sentence if place is None else f"{sentence} ({place[1]}, line {place[2]})"


def in_short(failed: Sequence[Failed]) -> str:
    """The errors in a line: how many trials each ended."""
    return "; ".join(f"{len(each.trials)} by {each.text}" for each in failed)
