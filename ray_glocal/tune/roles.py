"""The table of what becomes of each hyperparameter of a space, and why."""

from __future__ import annotations

from dataclasses import dataclass

from ray_glocal.options import DECAY_RATES
from ray_glocal.tune._compat import Domain
from ray_glocal.tune.space import Continuous, Split, left_over

ADAPTED, SEARCHED, DRAWN, UNTOUCHED = "adapted", "searched", "drawn", "untouched"


@dataclass(frozen=True)
class Role:
    """The role of an entry of a space: what becomes of it.

    Args:
        name: Its name, levels joined by "/".
        kind: "adapted", "searched", "drawn" or "untouched".
        why: In words.
    """

    name: str
    kind: str
    why: str


def roles(parts: Split) -> tuple[Role, ...]:
    """What becomes of each entry: adapted first, then searched, drawn and untouched ones."""
    adapted = [Role(c.name, ADAPTED, f"inside each trial, {_range(c)}{_condition(c)}") for c in parts.continuous]
    searched = [Role(d.name, SEARCHED, _across(parts, d.name)) for d in parts.discrete]
    rest = [_rest(name, value) for name, value in parts.constants.items()]
    return (*adapted, *searched, *sorted(rest, key=lambda role: role.kind))


def table(parts: Split) -> str:
    """The same as text, a line each."""
    rows = roles(parts)
    widths = max(len(row.name) for row in rows), max(len(row.kind) for row in rows)
    return "\n".join(f"{row.name:<{widths[0]}}  {row.kind:<{widths[1]}}  {row.why}" for row in rows)


def _range(entry: Continuous) -> str:
    axis = entry.axis
    if axis.scale == "identity":
        return f"from values around {axis.mean:g}, without bounds"
    return f"between {axis.lower:g} and {axis.upper:g}{', in logarithms' if axis.scale == 'log' else ''}"


def _condition(entry: Continuous) -> str:
    """Of what may be a decay rate: it depends on the session's settings, which are not known here."""
    if entry.path[-1] not in DECAY_RATES:
        return ""
    only = 'where the optimizer reads it, by `hypergradients="windows"` alone'
    return f"; {only}: else it keeps the value that the trial starts with"


def _across(parts: Split, name: str) -> str:
    (factor,) = (each for each in parts.space.factors if each.name == name)
    (entry,) = (each for each in parts.discrete if each.name == name)
    what = f"{factor.levels} values" if entry.fixed else f"{factor.levels} strata of its range"
    return f"across trials, {what}{', in order' if factor.places is not None else ''}"


def _rest(name: str, value: object) -> Role:
    if not left_over(value):
        return Role(name, UNTOUCHED, "a constant")
    kind = "a function" if isinstance(value, Domain) else "a domain inside a list or an expression"
    return Role(name, DRAWN, f"by Tune for each trial, and not learned from: {kind}")
