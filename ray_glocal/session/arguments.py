"""What a session is built with, checked before anything is made of it."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from numbers import Integral
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session.adapted import Adapted
from ray_glocal.session.tuning import MOST_STEPS


def whole_steps(total: Any) -> int:
    """The number of inner steps of a training.

    Raises:
        ArgumentError: It is no whole number, or not between 1 and `MOST_STEPS`.
    """
    remedy = "Count inner steps: epochs times `len(train_loader)`."
    if isinstance(total, bool) or not isinstance(total, Integral):
        if isinstance(total, float) and total.is_integer():
            remedy = f"Write `int({total:g})`."
        raise ArgumentError("total_steps", "be a whole number", total, remedy)
    steps = int(total)
    if steps < 1:
        raise ArgumentError("total_steps", "be at least 1", steps, remedy)
    if steps > MOST_STEPS:
        raise ArgumentError("total_steps", f"be at most {MOST_STEPS:,}", steps, remedy)
    return steps


def adapted_of(hyper: Any) -> Adapted:
    """What is adapted, from either way to say it.

    Raises:
        ArgumentError: It is neither.
    """
    if isinstance(hyper, Adapted):
        return hyper
    remedy = (
        "Write `hyper=[Hyperparameter('lr', 0.01, lower=1e-5, upper=1.0, scale='log')]`, or under Tune "
        "`hyper=adapted(config, space)`."
    )
    rule = "be a sequence of `Hyperparameter`, or what `adapted` returns"
    if isinstance(hyper, Mapping | str) or not isinstance(hyper, Iterable):
        raise ArgumentError("hyper", rule, hyper, remedy)
    several: Sequence[Any] = tuple(hyper)
    odd = next((each for each in several if not isinstance(each, Hyperparameter)), None)
    if odd is not None:
        raise ArgumentError("hyper", rule, several, remedy)
    if _in_a_trial():
        adapted: Adapted = import_module("ray_glocal.tune.adapt").of_this_trial(tuple(several))
        return adapted
    return Adapted(tuple(several))


def _in_a_trial() -> bool:
    """Whether it is known by itself which of Tune's trials asks."""
    # A session needs no Ray and knows none: those who do are asked where somebody has loaded it already.
    return "ray.tune" in sys.modules and bool(import_module("ray_glocal.tune.ancestry").known())
