"""Single trainings beside the best point of their task's grid."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from comparison.statistics import Row, number


@dataclass(frozen=True)
class Best:
    """The best point of a task's grid: that of the lowest mean validation loss over the seeds.

    Args:
        point: In words.
        test: Mean test loss, by seed.
    """

    point: str
    test: Mapping[int, float]


@dataclass(frozen=True)
class Single:
    """Whole trainings of one method from one start, beside the best of the grid on the same seeds.

    Args:
        task: Name.
        method: Name.
        start: Where they begin.
        raw: Mean test loss over that of the best point by raw weights.
        averaged: The same by averaged weights.
        cost: Of one, in plain trainings.
        seeds: How many.
    """

    task: str
    method: str
    start: str
    raw: float
    averaged: float
    cost: float
    seeds: int


@dataclass(frozen=True)
class Singles:
    """All of them.

    Args:
        raw: The best point of each task's grid by raw weights.
        averaged: The best point by averaged weights.
        told: The methods beside it.
        omitted: What has no grid beside it, in words.
    """

    raw: Mapping[str, Best]
    averaged: Mapping[str, Best]
    told: Sequence[Single]
    omitted: Sequence[str]


def singles(rows: Iterable[Row], grid: str = "grid") -> Singles:
    """Single trainings beside the best of the grid.

    Args:
        rows: Of the section `single` of one suite; others are passed over.
        grid: What the method is called.
    """
    cells: dict[tuple[str, str, str], dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row["section"] == "single":
            cells[row["task"], row["method"], row["point"]][row["seed"]] = row
    raw, averaged, told, omitted = {}, {}, [], []
    for task in dict.fromkeys(task for task, _, _ in cells):
        points = {point: runs for (of, method, point), runs in cells.items() if (of, method) == (task, grid)}
        if points and set.intersection(*map(set, points.values())):
            raw[task], averaged[task] = best(points, ""), best(points, "averaged_")
    for (task, method, start), runs in cells.items():
        if method == grid:
            continue
        seeds = sorted(set(runs) & set(raw[task].test)) if task in raw else []
        if seeds:
            own, cost = _mean(runs, "test", seeds), _mean(runs, "cost", seeds) / _mean(runs, "steps", seeds)
            over = [own / np.mean([point.test[seed] for seed in seeds]) for point in (raw[task], averaged[task])]
            told.append(Single(task, method, start, *map(float, over), cost, len(seeds)))
        else:
            omitted.append(f"{method} from {start} on {task}")
    return Singles(raw, averaged, told, omitted)


def best(points: Mapping[str, Mapping[int, Row]], prefix: str) -> Best:
    """The point of the lowest mean validation loss over the seeds that all points have.

    Args:
        points: Rows by point and seed.
        prefix: "averaged_" for what the averaged weights give.
    """
    seeds = sorted(set.intersection(*map(set, points.values())))
    chosen = min(points, key=lambda point: _mean(points[point], f"{prefix}val", seeds))
    return Best(chosen, {seed: number(points[chosen][seed][f"{prefix}test"]) for seed in seeds})


def _mean(runs: Mapping[int, Row], name: str, seeds: Sequence[int]) -> float:
    return float(np.mean([number(runs[seed][name]) for seed in seeds]))
