"""Schedules in files: JSON, and CSV with a line for each step at which anything changed."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ray_glocal import writing
from ray_glocal.errors import ArgumentError
from ray_glocal.schedule.schedule import LearnedSchedule, Passage
from ray_glocal.schedule.values import LearnedValues, checked

FORMAT, VERSION = "ray_glocal schedule", 2
_COMMENT = "# "  # begins the first line of a CSV file: what is no table


def write(schedule: LearnedSchedule, file: str | os.PathLike[str]) -> None:
    """Write a schedule, whole or not at all; see `LearnedSchedule.write`."""
    place = Path(file)
    kind = _kind(place)
    text = json.dumps(_plain(schedule), indent=1) + "\n" if kind == ".json" else _table(schedule)
    writing.write("file", place, text)


def read(file: str | os.PathLike[str]) -> LearnedSchedule:
    """Read a schedule; see `LearnedSchedule.read`."""
    place = Path(file)
    kind = _kind(place)
    if not place.is_file():
        raise ArgumentError("file", "be there", str(place), "Give the file that `LearnedSchedule.write` wrote.")
    try:
        text = place.read_text(encoding="utf-8")
        return _schedule(json.loads(text) if kind == ".json" else _parsed(text))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, OSError) as error:
        if isinstance(error, ArgumentError):
            raise
        rule = f"hold a schedule that `LearnedSchedule.write` wrote as {kind}"
        remedy = f"Write it anew; reading it ended in {type(error).__name__}: {error}."
        raise ArgumentError("file", rule, str(place), remedy) from error


def _kind(place: Path) -> str:
    if place.suffix.lower() not in (".json", ".csv"):
        raise ArgumentError("file", "end in .json or .csv", str(place), "Name it schedule.json, say.")
    return place.suffix.lower()


def _plain(schedule: LearnedSchedule) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "steps": schedule.steps,
        "planned": schedule.planned,
        "lr_scheduler": schedule.lr_scheduler,
        "trials": list(schedule.trials),
        "passages": [vars(passage) for passage in schedule.passages],
        "unfollowed": list(schedule.unfollowed),
        "hyperparameters": [_plain_values(each) for each in schedule.learned],
    }


def _plain_values(each: LearnedValues) -> dict[str, Any]:
    return {
        "name": each.name,
        "option": each.option,
        "groups": None if each.groups is None else list(each.groups),
        "ratios": None if each.ratios is None else list(each.ratios),
        "start": each.start.tolist(),
        "steps": each.steps.tolist(),
        "values": each.values.tolist(),
    }


def _schedule(plain: Mapping[str, Any]) -> LearnedSchedule:
    if (plain["format"], plain["version"]) != (FORMAT, VERSION):
        rule = f"hold a {FORMAT} of version {VERSION}"
        remedy = "Read it with the release of ray_glocal that wrote it."
        raise ArgumentError("file", rule, (plain["format"], plain["version"]), remedy)
    steps = int(plain["steps"])
    return LearnedSchedule(
        tuple(checked(_values(each), steps) for each in plain["hyperparameters"]),
        steps,
        tuple(Passage(int(p["start"]), int(p["clock"]), bool(p["afresh"])) for p in plain["passages"]),
        int(plain["planned"]),
        plain["lr_scheduler"],
        tuple(plain["unfollowed"]),
        tuple(plain["trials"]),
    )


def _values(plain: Mapping[str, Any]) -> LearnedValues:
    groups, ratios = plain["groups"], plain["ratios"]
    return LearnedValues(
        plain["name"],
        plain["option"],
        None if groups is None else tuple(int(group) for group in groups),
        None if ratios is None else tuple(float(ratio) for ratio in ratios),
        np.array(plain["start"], dtype=np.float64),
        np.array(plain["steps"], dtype=np.int64),
        np.array(plain["values"], dtype=np.float64),
    )


def _table(schedule: LearnedSchedule) -> str:
    """All but the values in a comment, and then a line of values for each step at which any changed."""
    plain = _plain(schedule)
    for each in plain["hyperparameters"]:
        del each["steps"], each["values"]
    out = io.StringIO(newline="")
    out.write(f"{_COMMENT}{json.dumps(plain)}\n")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["step", *(label for each in schedule.learned for label in each.labels)])
    for step in sorted({int(step) for each in schedule.learned for step in each.steps}):
        rows.writerow([step, *(repr(v) for each in schedule.learned for v in each.at(step).flatten().tolist())])
    return out.getvalue()


def _parsed(text: str) -> dict[str, Any]:
    first, _, rest = text.partition("\n")
    if not first.startswith(_COMMENT):
        rule = f"begin with the line of a {FORMAT}, which holds what is no table"
        raise ArgumentError("file", rule, first[:40], "Keep the first line when you edit the others.")
    plain: dict[str, Any] = json.loads(first.removeprefix(_COMMENT))
    _, *rows = csv.reader(io.StringIO(rest))
    steps, place = [int(row[0]) for row in rows], 1
    for each in plain["hyperparameters"]:
        start = np.array(each["start"], dtype=np.float64)
        columns = [np.array(row[place : place + start.size], dtype=np.float64).reshape(start.shape) for row in rows]
        changes = LearnedValues.of(each["name"], start, steps, columns, option=None)
        each |= {"steps": changes.steps.tolist(), "values": changes.values.tolist()}
        place += start.size
    return plain
