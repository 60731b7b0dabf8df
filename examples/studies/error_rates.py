"""Rates at which errors fall: slopes of log error on log N with their intervals, and the errors at the end."""

import math
from collections.abc import Sequence
from statistics import median

import numpy as np

from noisy_quadratic import Array
from study import Row, chosen, gathered

EXACT = 1e-9  # relative errors below it are rounding
RESAMPLES = 1000
Key = tuple[str, str, str]  # problem, hyperparameter, estimator
Rates = dict[Key, tuple[float, float, float]]


def slope(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Slope of log error on log length with its 95 % interval, by drawing runs with replacement; NaN where too few."""
    answers = [row for row in rows if row["answered"]]
    grid = gathered((row["seed"], (math.log(row["length"]), math.log(max(row["error"], EXACT)))) for row in answers)
    points = [np.array(pairs) for pairs in grid.values()]
    if sum(map(len, points)) < len(rows) / 2:
        return math.nan, math.nan, math.nan
    draws = np.random.default_rng(0).integers(len(points), size=(RESAMPLES, len(points)))
    drawn = [_fit(np.concatenate([points[i] for i in draw])) for draw in draws]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return _fit(np.concatenate(points)), float(low), float(high)


def _fit(points: Array) -> float:
    centred = points - points.mean(axis=0)
    return float(centred[:, 0] @ centred[:, 1] / max(centred[:, 0] @ centred[:, 0], 1e-12))


def summary(rows: Sequence[Row]) -> str:
    """Slope, its interval, and the median error of the shortest and of the longest window."""
    told, low, high = slope(rows)
    if math.isnan(told):
        return f"answers {sum(row['answered'] for row in rows) / len(rows):.0%}"
    return f"{told:+.1f} [{low:+.1f}, {high:+.1f}], {fall(rows)}"


def fall(rows: Sequence[Row]) -> str:
    """Median error of the shortest and of the longest window."""
    ends = [median_error(chosen(rows, length=length)) for length in _ends(rows)]
    return " to ".join("none" if math.isnan(end) else f"{end:.2g}" for end in ends)


def _ends(rows: Sequence[Row]) -> tuple[int, int]:
    lengths = [row["length"] for row in rows]
    return min(lengths), max(lengths)


def median_error(rows: Sequence[Row]) -> float:
    """Median over those that answered; NaN where none did."""
    told = [row["error"] for row in rows if row["answered"]]
    return median(told) if told else math.nan


def rates(rows: Sequence[Row], kind: str) -> Rates:
    """Slopes with their intervals, of all that answer often enough to have one."""
    told = {key: slope(group) for key, group in grouped(rows, kind).items()}
    return {key: rate for key, rate in told.items() if not math.isnan(rate[0])}


def grouped(rows: Sequence[Row], kind: str) -> dict[Key, list[Row]]:
    """Rows of one kind of trajectory by problem, hyperparameter and estimator."""
    return gathered(((row["problem"], row["hyper"], row["estimator"]), row) for row in chosen(rows, kind=kind))


def in_the_end(rows: Sequence[Row], kind: str) -> dict[Key, float]:
    """Median errors with the longest window, of all that answer there more often than not."""
    told = grouped(chosen(rows, length=_ends(rows)[1]), kind)
    return {key: median_error(own) for key, own in told.items() if sum(row["answered"] for row in own) > len(own) / 2}
