"""Reading Tune's results: one metric as a loss, one clock, and what a glocal session adds to them.

The direction of the metric is handled here and nowhere else: inside, everything is a loss.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray_glocal.errors import ArgumentError
from ray_glocal.names import (
    COST_STEPS,
    ELASTICITY,
    FINAL_DEVIATION,
    FINAL_LOSS,
    HYPER,
    LINEAGE_STEPS,
    OWN_STEPS,
    POTENTIAL,
    SEARCHING,
    STEP,
    TOTAL_STEPS,
    VAL_LOSS,
)
from ray_glocal.scheduling.event import Reported, Scalar
from ray_glocal.scheduling.sentences import in_the_users_terms
from ray_glocal.tune._compat import TRAINING_ITERATION

# Metrics that are shares, whatever else their names say: 0 to 1, or to 100 where they are told in per cent.
_SHARES = frozenset(
    {"accuracy", "acc", "acc1", "top1", "top5", "auc", "auroc", "f1", "precision", "recall", "iou", "dice"}
)


@dataclass(frozen=True)
class Reading:
    """How results are read.

    Args:
        metric: Key of the value that is optimised.
        mode: "min" or "max".
        time_attr: Key of the trial's clock; `training_iteration` where a result lacks it.
        forecast_of: The metric whose end a session's own forecast tells; for any other metric that forecast is of no
            use, and the reported values themselves are forecast.
        slopes: Discrete hyperparameters whose `elasticity/<name>` is read, where it is of that metric.
        bounds: Least and greatest value that the metric can take; None for what its name says.

    Raises:
        ArgumentError: No metric, or a mode that is neither.
    """

    metric: str
    mode: str
    time_attr: str = STEP
    forecast_of: str = VAL_LOSS
    slopes: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.metric or not isinstance(self.metric, str):
            remedy = 'Pass metric="val_loss" to GlocalScheduler, GlocalSearch or Tune.'
            raise ArgumentError("metric", "name the reported value to optimise", self.metric, remedy)
        check_mode(self.mode, self.metric)
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            remedy = "Give the least and the greatest value, infinite where there is none."
            raise ArgumentError("bounds", "be a range", self.bounds, remedy)

    def possible(self, forecast: float, loss: float, lowest: float) -> float:
        """A forecast loss within what the metric can be.

        Args:
            forecast: The loss.
            loss: That was reported.
            lowest: That anybody has reported: a metric that was above 1 is no share, but one in a hundred.
        """
        least, greatest = self.bounds or self._named_bounds(self.sign * loss, self.sign * min(loss, lowest))
        return self.sign * min(max(self.sign * forecast, least), greatest)

    def _named_bounds(self, value: float, best: float) -> tuple[float, float]:
        """The range that the metric's name speaks of, if the value lies in it."""
        words = set(re.split(r"[^a-z0-9]+", self.metric.lower()))
        greatest = 1.0 if max(value, best) <= 1 else 100.0
        return (0.0, greatest) if words & _SHARES and 0 <= value <= greatest else (-math.inf, math.inf)

    @property
    def needed(self) -> tuple[str, ...]:
        """Keys without which there is no report, and that of its end."""
        return self.metric, self.time_attr, TRAINING_ITERATION, TOTAL_STEPS

    @property
    def sign(self) -> float:
        """What turns the metric into a loss, and back."""
        return 1.0 if self.mode == "min" else -1.0

    def rephrased(self, reason: str) -> str:
        """A sentence of the ledger as people read it: with values of the metric in the place of losses."""
        return in_the_users_terms(reason, self.metric, self.mode)

    def step(self, result: Mapping[str, Any]) -> float:
        """The trial's clock: an int wherever it is whole."""
        step = finite(result.get(self.time_attr))
        if step is None:
            step = finite(result.get(TRAINING_ITERATION)) or 0.0
        return int(step) if step == int(step) else step

    def report(self, trial: str, result: Mapping[str, Any], lowest: float = math.inf) -> Reported | None:
        """The event that a flat `result` stands for, beside the lowest loss so far; None where it lacks the metric."""
        value = number(result.get(self.metric))
        if value is None:
            return None
        mean, deviation = self._forecast(result)
        hyper = {k.removeprefix(HYPER): x for k, v in result.items() if (x := _hyper(k, v)) is not None}
        potential = finite(result.get(POTENTIAL)) if self.metric == self.forecast_of else None  # it is of that loss
        cost = finite(result.get(COST_STEPS))
        loss = self.sign * value
        mean = mean if mean is None else self.possible(mean, loss, lowest)
        slopes = self._slopes(result, loss if mean is None else mean)
        age, lineage = finite(result.get(OWN_STEPS)), finite(result.get(LINEAGE_STEPS))
        inherited = 0.0 if age is None or lineage is None else max(lineage - age, 0.0)
        when = finite(result.get(TOTAL_STEPS)), age, inherited, bool(finite(result.get(SEARCHING)))
        return Reported(trial, self.step(result), loss, mean, deviation, potential, hyper, cost, slopes, *when)

    def _slopes(self, result: Mapping[str, Any], final: float) -> dict[str, float]:
        if self.metric != self.forecast_of or not math.isfinite(final):
            return {}
        elasticities = {name: finite(result.get(ELASTICITY + name)) for name in self.slopes}
        return {name: elasticity * final for name, elasticity in elasticities.items() if elasticity is not None}

    def _forecast(self, result: Mapping[str, Any]) -> tuple[float | None, float | None]:
        mean = finite(result.get(FINAL_LOSS)) if self.metric == self.forecast_of else None
        if mean is None:
            return None, None
        deviation = finite(result.get(FINAL_DEVIATION))
        return self.sign * mean, None if deviation is None else abs(deviation)


def agreed(argument: str, own: str | None, other: str | None) -> str | None:
    """What was said of the metric or the mode in one place or in several.

    Raises:
        ArgumentError: Two places say different things.
    """
    if own and other and own != other:
        remedy = "Scheduler, searcher and Tune must optimise the same thing: say it in one place."
        raise ArgumentError(argument, f"be the same everywhere, {own!r} so far", other, remedy)
    return own or other


def check_mode(mode: str, metric: str) -> None:
    """Complain about a direction that is none.

    Raises:
        ArgumentError: `mode` is neither "min" nor "max".
    """
    if mode not in ("min", "max"):
        remedy = f"Say whether a small or a large {metric or 'metric'!r} is good."
        raise ArgumentError("mode", "be 'min' or 'max'", mode, remedy)


def number(value: object) -> float | None:
    """`value` as a float where it is a real number (NumPy's and one-element tensors included); None otherwise."""
    if isinstance(value, bool | str | None):
        return None
    item = (lambda: value) if isinstance(value, numbers.Real) else getattr(value, "item", None)
    if not callable(item):
        return None
    try:
        return float(item())
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None  # a hook must not raise because a trainable reported something odd


def finite(value: object) -> float | None:
    """`value` as a finite float; None otherwise."""
    converted = number(value)
    return converted if converted is not None and math.isfinite(converted) else None


def flat_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """A configuration for the ledger: names joined by "/", values that JSON can hold, the others by `repr`."""
    flat: dict[str, Scalar] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flat_config(value, name + "/"))
        elif isinstance(value, bool | int | str | None) or (isinstance(value, float) and math.isfinite(value)):
            flat[name] = value
        else:
            flat[name] = repr(value)
    return flat


def _hyper(key: str, value: object) -> float | None:
    return finite(value) if key.startswith(HYPER) else None
