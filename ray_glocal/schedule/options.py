"""Options of an optimizer's parameter groups, by the names that sessions know them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.schedule.values import LearnedValues

_BETAS = {"beta1": 0, "beta2": 1}
_PROPORTIONAL = frozenset({"lr", "weight_decay"})  # groups that differ in these keep their ratios
_CLOSE = 1e-6  # relative distance of two numbers that were meant to be the same


def option_in(group: Mapping[str, Any], name: str) -> str | None:
    """What a parameter group calls an option: Adam's momentum is its first beta; None where it has none such."""
    if "betas" in group and name == "momentum":
        name = "beta1"
    return name if name in group or ("betas" in group and name in _BETAS) else None


def read(group: Mapping[str, Any], option: str) -> float:
    """An option of a group."""
    return float(group["betas"][_BETAS[option]] if option in _BETAS else group[option])


def write(group: dict[str, Any], option: str, value: float) -> None:
    """Set it."""
    if option in _BETAS:
        betas = list(group["betas"])
        betas[_BETAS[option]] = value
        group["betas"] = tuple(betas)
    else:
        group[option] = value


def ratios(learned: LearnedValues, option: str, own: Sequence[float], default: float | None) -> tuple[float, ...]:
    """How many times the hyperparameter's value the option of each of its groups is.

    Args:
        learned: The hyperparameter.
        option: Which it sets.
        own: What the groups have, before any schedule.
        default: What groups without an option of their own have; None where that is not known.

    Raises:
        ArgumentError: The groups differ, and the value that the session began with is none of theirs.
    """
    if learned.ratios is not None:
        return learned.ratios
    if option not in _PROPORTIONAL or len(set(own)) <= 1:
        return (1.0,) * len(own)
    start = float(learned.start)
    known = [*own, *(() if default is None else (default,))]
    if start == 0 or not any(abs(start - each) <= _CLOSE * abs(each) for each in known):
        rule = f"have a group whose {option!r} is {start:g}, with which the session began, for its groups differ"
        raise ArgumentError("optimizer", rule, list(own), "Build it as the session's was.")
    return tuple(each / start for each in own)
