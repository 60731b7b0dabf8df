"""Options of optimizers that are continuous hyperparameters: their names, what is known of each, and where they lie."""

from collections.abc import Collection, Mapping
from typing import Any

BETAS = {"beta1": 0, "beta2": 1}  # places in a group's `betas`
ALIASES = {"momentum": "beta1"}  # where there are betas: both are the decay rate of the first moment
DECAY_RATES = frozenset({"momentum", "alpha", "dampening", *BETAS})  # what matters is their distance from one
PROPORTIONAL = frozenset({"lr", "weight_decay"})  # their ratio between groups means something
GEOMETRIC = PROPORTIONAL | {"eps"}  # what these differ by are factors
# At exactly zero a schedule's factor is lost from the learning rate, and torch keeps no momentum buffer.
NEVER_ZERO = frozenset({"lr", "momentum"})
NAMES = GEOMETRIC | DECAY_RATES | {"lr_decay"}

CLOSE = 1e-6  # relative distance of two numbers that were meant to be the same


def option_in(group: Mapping[str, Any], name: str) -> str | None:
    """What a parameter group calls an option: Adam's momentum is its first beta; None where it has none such."""
    if "betas" in group:
        name = ALIASES.get(name, name)
    return name if name in group or ("betas" in group and name in BETAS) else None


def option_of(group: Mapping[str, Any], option: str) -> float:
    """An option of a group."""
    return float(group["betas"][BETAS[option]] if option in BETAS else group[option])


def set_option(group: dict[str, Any], option: str, value: float) -> None:
    """Set it."""
    if option in BETAS:
        betas = list(group["betas"])
        betas[BETAS[option]] = value
        group["betas"] = tuple(betas)
    else:
        group[option] = value


def in_proportion(option: str, own: Collection[float]) -> bool:
    """Whether groups that have these values keep their ratios: they differ in an option whose ratio means something."""
    return option in PROPORTIONAL and len(set(own)) > 1


def is_among(value: float, known: Collection[float]) -> bool:
    """Whether a value is one of the known ones, up to rounding, and not zero: what ratios can refer to."""
    return value != 0 and any(abs(value - each) <= CLOSE * abs(each) for each in known)
