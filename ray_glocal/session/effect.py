"""Hyperparameters that a loss reads without being differentiable in them."""

from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem
from ray_glocal.session.notices import Notices


def cut_off(problem: Problem, series: Array) -> list[str]:
    """Hyperparameters of the losses whose derivatives are exactly zero in every entry of a trajectory [K, q].

    Those with a common prefix, the parameters of one module, count as one: a layer that is still zero hides others.
    """
    felt: dict[str, list[bool]] = {}
    for binding in problem.bindings:
        if binding.field is None:
            name = binding.hyperparameter.name
            felt.setdefault(name.partition("/")[0], []).append(bool(series[:, problem.places[name]].any()))
    return [name for name, parts in felt.items() if not any(parts)]


def say_cut_off(problem: Problem, notices: Notices, series: Array) -> None:
    """Say which they are, by derivatives [n, q]."""
    for name in cut_off(problem, series):
        notices.say(
            f"no effect of {name}",
            f"The derivative in {name!r} is exactly zero over the whole first window: a loss that reads it as "
            f"`float(hyper[{name!r}])`, by `.item()` or `.detach()`, cuts it off, and it will never move. Use the "
            "tensor as it is.",
        )
