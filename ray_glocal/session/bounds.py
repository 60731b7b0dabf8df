"""Hyperparameters that training has driven to a bound of theirs: it would have gone on, had they let it."""

import math

import torch
from torch import Tensor

from ray_glocal.hypergradient import Hyperparameter, Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.names import AT_BOUND
from ray_glocal.session.notices import Notices

SAME = 1e-6  # distance at which a value counts as its bound: of the bound on a log scale, else of the range


def say_bounds(problem: Problem, notices: Notices, values: Values) -> None:
    """Say of each hyperparameter that has come to a bound, and did not start there, which it is.

    Args:
        problem: Its hyperparameters have bounds and start values.
        notices: Where to say it.
        values: At the end of training.
    """
    for hyper in problem.hyperparameters:
        if hyper.scale != "simplex":  # whose shares end where there is nothing to widen
            for side, bound in (("lower", hyper.lower), ("upper", hyper.upper)):
                count = int(_reached(hyper, values[hyper.name], bound).sum())
                if count:
                    notices.say(f"{side} bound of {hyper.name}", _sentence(hyper, side, bound, count))


def _reached(hyper: Hyperparameter, value: Tensor, bound: float) -> Tensor:
    """Which entries have moved to a bound."""
    if math.isinf(bound):
        return torch.zeros_like(value, dtype=torch.bool)
    span = hyper.upper - hyper.lower
    unit = abs(bound) if hyper.scale == "log" or math.isinf(span) else span
    there: Tensor = (value - bound).abs() <= SAME * unit
    return there & (value != hyper.value)


def _sentence(hyper: Hyperparameter, side: str, bound: float, count: int) -> str:
    who = hyper.name if hyper.size == 1 else f"{count} of {hyper.size} entries of {hyper.name}"
    return f"{who} {AT_BOUND} {side} bound {bound:g}: widen the space, if it can be wider."
