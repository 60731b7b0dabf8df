"""What has changed in a space since the experiment that is resumed, or since trials of it were recorded.

A ledger numbers the values that a proposal chose, in the order of the space. It records the values too, and those are
what counts: choices that were reordered, added or taken out are recognised by them.
"""

from __future__ import annotations

import dataclasses
import logging
import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.event import Added, Scalar
from ray_glocal.scheduling.ledger import Event, Ledger
from ray_glocal.tune.reading import finite, flat_config
from ray_glocal.tune.space import Discrete, Split

_NOWHERE = -1  # level of a value that the space does not hold: such trials are none of those that it proposes
_REMEDY = "Go on with the space of before, or begin another experiment under a name of its own."

logger = logging.getLogger(__name__)


def changes(before: Split, after: Split) -> list[str]:
    """What differs between two spaces, a sentence each; objects that are no plain values are taken for the same.

    Args:
        before: The space of the experiment.
        after: The space that it shall go on with.
    """
    return [*_names(_kinds(before), _kinds(after)), *_bounds(before, after), *_choices(before, after)]


def unlike(ledger: Ledger, parts: Split) -> ArgumentError | None:
    """The complaint about a space that has other names than the recorded trials; None where it has the same."""
    proposed = [record.added for record in ledger.trials.values() if record.added.proposed and record.added.levels]
    if not proposed:
        return None
    differences = list(_names(_recorded(proposed[-1], parts), _kinds(parts)))
    if not differences and len(proposed[-1].levels) != len(parts.discrete):
        differences = [f"{len(proposed[-1].levels)} discrete hyperparameters became {len(parts.discrete)}"]
    rule = "hold the hyperparameters of the experiment that is resumed"
    return ArgumentError("space", rule, "; ".join(differences), _REMEDY) if differences else None


def matched(ledger: Ledger, parts: Split) -> Ledger:
    """The ledger with each proposal's levels as `parts` numbers its values; what `parts` does not hold is said."""
    lost: Counter[str] = Counter()
    events = [_rematched(event, parts, lost) for event in ledger.events]
    for value, trials in sorted(lost.items()):
        logger.warning(
            "The space does not hold %s any more: nothing is learned from the %d recorded trials with it.",
            *(value, trials),
        )
    if all(map(operator.is_, events, ledger.events)):
        return ledger  # as it nearly always is, and a large one takes seconds to build
    again = Ledger(events)
    again.torn = ledger.torn
    return again


def _kinds(parts: Split) -> dict[str, str]:
    """What becomes of each hyperparameter of a space."""
    return {c.name: "adapted" for c in parts.continuous} | {d.name: "searched" for d in parts.discrete}


def _recorded(event: Added, parts: Split) -> dict[str, str]:
    """The same of the space that a proposal came from, as far as its configuration tells.

    It holds constants too, of which a searcher that `Tuner.restore` made has not been told: of the names that it has
    besides, those of the space at hand are known to be searched, and others where these are fewer than its levels.
    """
    found = dict.fromkeys(event.start, "adapted")
    names = {name for name in event.config if name not in event.start}
    constant = {name for name in names if any(_within(name, constant) for constant in parts.constants)}
    known = {d.name for d in parts.discrete if any(_within(name, d.name) for name in names)}
    others = {name for name in names - constant if not any(_within(name, own) for own in known)}
    strange = others if len(known) < len(event.levels) else set()
    return found | dict.fromkeys(known | strange, "searched")


def _within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}/")


def _names(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"{name!r} is gone"
        elif name not in before:
            yield f"{name!r} is new"
        elif before[name] != after[name]:
            yield f"{name!r} was {before[name]} and is {after[name]}"


def _bounds(before: Split, after: Split) -> Iterator[str]:
    theirs = {c.name: c.axis for c in before.continuous}
    for entry in after.continuous:
        was = theirs.get(entry.name)
        if was is not None and was != entry.axis:
            yield f"{entry.name!r} was {_range(was)} and is {_range(entry.axis)}"


def _range(axis: Any) -> str:
    if axis.scale == "identity":
        return f"normal around {axis.mean:g} by {axis.deviation:g}"
    return f"{axis.lower:g} to {axis.upper:g}{' in logarithms' if axis.scale == 'log' else ''}"


def _choices(before: Split, after: Split) -> Iterator[str]:
    theirs = {d.name: d for d in before.discrete}
    for entry in after.discrete:
        was = theirs.get(entry.name)
        if was is None:
            continue
        if was.fixed and entry.fixed:
            old, new = _plain(was), _plain(entry)
            lost, gained = sorted(old - new), sorted(new - old)
            if old and new and (lost or gained):
                yield f"{entry.name!r} lost {_listed(lost)} and gained {_listed(gained)}"
        elif was.levels != entry.levels:
            yield f"{entry.name!r} is drawn from another range"


def _listed(values: list[str]) -> str:
    return ", ".join(values) or "nothing"


def _plain(entry: Discrete) -> Counter[str]:
    """Its values, if all of them are plain: Tune hands objects on as placeholders."""
    values = [value for level in entry.levels for value in level]
    return Counter(map(repr, values)) if all(map(_is_plain, values)) else Counter()


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | None)


def _rematched(event: Event, parts: Split, lost: Counter[str]) -> Event:
    if not isinstance(event, Added) or not event.levels or len(event.levels) != len(parts.discrete):
        return event
    levels = []
    for entry, level in zip(parts.discrete, event.levels, strict=True):
        value = {name: part for name, part in event.config.items() if _within(name, entry.name)}
        found = _level(entry, parts.domain(entry), level, value)
        if found == _NOWHERE:
            lost[f"{entry.name} = {value.get(entry.name)!r}"] += 1
        levels.append(found)
    return event if tuple(levels) == event.levels else dataclasses.replace(event, levels=tuple(levels))


def _level(entry: Discrete, domain: Any, recorded: int, value: Mapping[str, Scalar]) -> int:
    """The level of a recorded value: the recorded one wherever that may still be meant."""
    order = sorted(range(len(entry.levels)), key=lambda index: index != recorded)
    for index in order:
        if any(flat_config({entry.name: own}) == value for own in entry.levels[index]):
            return index
    number = finite(value.get(entry.name))
    if not entry.fixed and number is not None:
        return _nearest(entry, number) if domain.lower <= number <= domain.upper else _NOWHERE
    opaque = 0 <= recorded < len(entry.levels) and not all(map(_is_plain, entry.levels[recorded]))
    return recorded if opaque else _NOWHERE  # an object is written down as what `repr` makes of it, which may vary


def _nearest(entry: Discrete, number: float) -> int:
    """The stratum that a number falls into, which need not be among the draws that it is known by."""
    known = [(finite(value), index) for index, level in enumerate(entry.levels) for value in level]
    return min((abs(own - number), index) for own, index in known if own is not None)[1]


__all__ = ["changes", "matched", "unlike"]
