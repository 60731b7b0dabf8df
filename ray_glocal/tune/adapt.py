"""From a trial's configuration to what its session adapts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from ray import tune
from ray.tune import Checkpoint

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.options import NAMES
from ray_glocal.session.adapted import Adapted
from ray_glocal.tune.ancestry import ancestor, storage_of
from ray_glocal.tune.space import Continuous, split


def adapted(
    config: Mapping[str, Any],
    space: Mapping[str, Any],
    *,
    adapt: Sequence[str] | None = None,
    trainable: tune.Trainable | None = None,
) -> Adapted:
    """What a session adapts: the continuous domains of the space, from the values that the trial was given.

    Args:
        config: The trial's configuration, from any searcher or scheduler.
        space: The Tune space it was drawn from.
        adapt: Names to adapt; None for every continuous domain.
        trainable: `self`, in a class trainable of your own: through it the trial's ancestor is known. A function and
            a `GlocalTrainable` do without; workers of Ray Train are handed what the trial's function was told here.

    Returns:
        Hyperparameters with start value, bounds and scale (`loguniform`: log; `uniform`: logit between its bounds;
        `randn`: identity), the checkpoint of the ancestor that `GlocalSearch` gave the trial, if any, and Tune's kind
        of checkpoint.

    Examples:
        >>> space = {"width": tune.choice([64, 128]), "lr": tune.loguniform(1e-4, 1.0)}
        >>> found = adapted({"width": 64, "lr": 0.01}, space)
        >>> [(each.name, each.start, each.scale) for each in found.hyperparameters]
        [('lr', 0.01, 'log')]

    Raises:
        ArgumentError: Nothing in `space` is continuous, or `config` holds no number inside the bounds for one that is.
    """
    continuous = split(space, adapt=adapt).continuous
    if not continuous:
        raise nothing_continuous(space)
    hyperparameters = tuple(_hyperparameter(entry, _start(config, entry)) for entry in continuous)
    with nullcontext() if trainable is None else storage_of(trainable):
        return of_this_trial(hyperparameters)


def of_this_trial(hyperparameters: tuple[Hyperparameter, ...]) -> Adapted:
    """Hyperparameters of whatever making, with the trial's ancestor and Tune's kind of checkpoint."""
    return Adapted(hyperparameters, ancestor(), Checkpoint.from_directory)


def nothing_continuous(space: Mapping[str, Any]) -> ArgumentError:
    """The complaint about a space in which nothing can be adapted."""
    rule = "hold at least one continuous domain to adapt"
    remedy = "Write e.g. `tune.loguniform(1e-4, 1.0)` for a value that is now fixed, a choice or quantised."
    return ArgumentError("space", rule, sorted(space), remedy)


def _hyperparameter(entry: Continuous, start: float) -> Hyperparameter:
    axis = entry.axis
    # A nested name stays whole, so that metrics and configuration agree; its last part may name an optimizer's option,
    # and any other name is read by the losses.
    field = entry.path[-1] if len(entry.path) > 1 and entry.path[-1] in NAMES else None
    return Hyperparameter(axis.name, start, axis.lower, axis.upper, axis.scale, field=field)


def _start(config: Mapping[str, Any], entry: Continuous) -> float:
    value: Any = config
    for key in entry.path:
        if not isinstance(value, Mapping) or key not in value:
            rule = f"hold a start value for {entry.name!r}, which the space declares continuous"
            remedy = "Pass the configuration that Tune gave to the trial, or take the name out of the space."
            raise ArgumentError("config", rule, sorted(map(str, config)), remedy)
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        rule = f"hold a start value, a number, for {entry.name!r}"
        raise ArgumentError("config", rule, value, "Pass the configuration that Tune gave to the trial.")
    axis = entry.axis
    if not axis.lower <= value <= axis.upper:
        rule = f"hold a value between {axis.lower:g} and {axis.upper:g} for {entry.name!r}"
        raise ArgumentError("config", rule, value, "Widen the domain in the space or move the value.")
    return float(value)
