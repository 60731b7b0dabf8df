"""The comparison's statistics: curves over the budget, ranks, relative losses, profiles, costs, and their intervals.

Losses are positive, and arrays of them have the axes [task, method, seed, share of the budget]; what needs one share
alone takes the first three. An interval comes from a bootstrap that is paired: every method gets the same resample.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comparison.bootstrap import Array, Resamples

Row = Mapping[str, Any]
FINE = tuple(k / 240 for k in range(1, 241))  # shares of the budget, for curves and costs


@dataclass(frozen=True)
class Curves:
    """The test loss of the incumbent, which is picked by validation loss, over the budget.

    Args:
        tasks: Names.
        methods: Names.
        seeds: Those that every method has on every one of the tasks.
        shares: Of the budget.
        losses: [task, method, seed, share].
        omitted: What is left out for being incomplete, in words.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    shares: tuple[float, ...]
    losses: Array
    omitted: tuple[str, ...] = ()

    def final(self) -> Array:
        """[task, method, seed] at the last share."""
        return self.losses[..., -1]


def curves(rows: Iterable[Row], methods: Sequence[str], shares: Sequence[float]) -> Curves:
    """The curves of what is complete.

    An experiment that ended earlier holds its last loss, and a result that arrives past the budget does not count. A
    loss that is not finite counts as the largest finite one of its task.

    Args:
        rows: Of the section `search` of one suite; others are passed over.
        methods: Those to compare.
        shares: Of the budget, ascending.
    """
    found: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    wanted = set(methods)
    for row in rows:
        if row["section"] == "search" and row["method"] in wanted:
            found[row["task"], row["method"], row["seed"]].append(row)
    tasks, kept, seeds, omitted = complete(found, methods)
    told = [[[_curve(found[task, method, seed], shares) for seed in seeds] for method in kept] for task in tasks]
    losses = np.array(told, dtype=float).reshape(len(tasks), len(kept), len(seeds), len(shares))
    return Curves(tasks, kept, seeds, tuple(shares), _finite(losses), omitted)


def complete(
    cells: Iterable[tuple[str, str, int]], methods: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...], tuple[str, ...]]:
    """Tasks, methods and seeds of which every combination is there, and in words what is left out for that.

    A method goes that lacks half of the tasks or more; then a task that any other method lacks; then the seeds that
    are not everywhere.

    Args:
        cells: (task, method, seed) that are there.
        methods: Asked for.
    """
    seeds: dict[tuple[str, str], set[int]] = defaultdict(set)
    for task, method, seed in cells:
        seeds[task, method].add(seed)
    known = list(dict.fromkeys(task for task, _ in seeds))
    kept = [name for name in methods if 2 * sum((task, name) in seeds for task in known) > len(known)]
    tasks = [task for task in known if kept and all((task, name) in seeds for name in kept)]
    told = [seeds[task, name] for task in tasks for name in kept]
    common = set.intersection(*told) if told else set()
    left = {
        "methods": [name for name in methods if name not in kept],
        "tasks": [task for task in known if task not in tasks],
        "seeds": sorted(set().union(*told) - common),
    }
    omitted = tuple(f"{what} {', '.join(map(str, names))}" for what, names in left.items() if names)
    return tuple(tasks), tuple(kept), tuple(sorted(common)), omitted


def _curve(rows: Sequence[Row], shares: Sequence[float]) -> list[float]:
    told = sorted(rows, key=lambda row: row["cost"])
    spent = [row["cost"] / row["budget"] for row in told]
    places = np.searchsorted(spent, np.asarray(shares) * (1 + 1e-9), side="right") - 1
    return [number(told[max(place, 0)]["test"]) for place in places]


def number(value: float | None) -> float:
    """A loss; infinite where it is none."""
    return np.inf if value is None or not np.isfinite(value) else float(value)


def _finite(losses: Array) -> Array:
    told = np.where(np.isfinite(losses), losses, -np.inf)
    largest = told.max(axis=(1, 2, 3), keepdims=True, initial=-np.inf)
    return np.where(np.isfinite(losses), losses, largest)


def ranks(losses: Array) -> Array:
    """The rank of each method by task, seed and share, 1 for the lowest loss; those that tie get their mean."""
    own, other = losses[:, :, None], losses[:, None]
    return 0.5 + np.sum(other < own, axis=2) + 0.5 * np.sum(other == own, axis=2)


def mean_ranks(losses: Array, resamples: Resamples) -> Array:
    """[resample, method, ...]."""
    return np.einsum("rt,rts,tms...->rm...", resamples.tasks, resamples.seeds, ranks(losses), optimize=True)


def ratios(losses: Array, references: Sequence[int], resamples: Resamples) -> Array:
    """[resample, task, method, ...]: mean losses over the lowest mean loss that a reference has there.

    Args:
        losses: [task, method, seed, ...].
        references: Places of methods. Of several the best of each task is picked afresh in each resample.
        resamples: Of the bootstrap.
    """
    means = np.einsum("rts,tms...->rtm...", resamples.seeds, losses, optimize=True)
    return means / means[:, :, list(references)].min(axis=2, keepdims=True)


def relative_losses(losses: Array, references: Sequence[int], resamples: Resamples) -> Array:
    """[resample, method, ...]: the geometric means of these ratios over the tasks."""
    logs = np.log(ratios(losses, references, resamples))
    return np.exp(np.einsum("rt,rtm...->rm...", resamples.tasks, logs))


def profiles(losses: Array, factors: Sequence[float]) -> Array:
    """[method, factor]: how often a loss is at most so many times the lowest of all methods.

    A performance profile (Dolan & More 2002, Benchmarking optimization software with performance profiles).

    Args:
        losses: [task, method, seed]; each task with each seed is one problem.
        factors: 1 or more.
    """
    over = losses / losses.min(axis=1, keepdims=True)
    return np.mean(over[..., None] <= np.asarray(factors), axis=(0, 2))


def cost_to_reach(losses: Array, shares: Sequence[float], rivals: Sequence[int]) -> Array:
    """[task, method]: the share at which a method's mean curve first is as low as the best rival's mean ends.

    It is infinite where that never happens.

    Args:
        losses: [task, method, seed, share].
        shares: Of the budget, ascending, the last of them the whole.
        rivals: Places of methods.
    """
    means = losses.mean(axis=2)
    target = means[:, list(rivals), -1].min(axis=1)
    reached = means <= target[:, None, None]
    return np.where(reached.any(axis=2), np.asarray(shares)[reached.argmax(axis=2)], np.inf)


def censored_mean(costs: Array, censored: float = 1.0) -> tuple[Array, NDArray[np.int64]]:
    """For each method the geometric mean of its costs over the tasks, and how many of them were infinite.

    Args:
        costs: [task, method].
        censored: What an infinite one counts as.
    """
    never = np.isinf(costs)
    return np.exp(np.log(np.where(never, censored, costs)).mean(axis=0)), never.sum(axis=0)


@dataclass(frozen=True)
class Agreement:
    """How far two rankings agree: 1 for the same order, -1 for the opposite, not a number where one is all ties.

    Args:
        tau: Kendall's tau-b.
        rho: Spearman's.
    """

    tau: float
    rho: float


def agreement(first: Sequence[float], second: Sequence[float]) -> Agreement:
    """Of two lists of values, one for each method (Kendall 1945, The treatment of ties in ranking problems)."""
    one, two = (np.asarray(values, dtype=float) for values in (first, second))
    pairs = [np.sign(values[:, None] - values).ravel() for values in (one, two)]
    rank = [ranks(values[None, :, None])[0, :, 0] for values in (one, two)]
    return Agreement(_cosine(*pairs), _cosine(*(values - values.mean() for values in rank)))


def _cosine(one: Array, two: Array) -> float:
    norm = np.sqrt((one @ one) * (two @ two))
    return float(one @ two / norm) if norm else float("nan")


def processor_seconds(rows: Iterable[Row], methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """By method and task, the processor seconds that an inner-step equivalent took, over whole experiments.

    Args:
        rows: Of the section `search` of one suite; others are passed over.
        methods: Those to tell of.
    """
    last: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        key = row.get("task"), row["method"], row["seed"]
        if row["section"] == "search" and (key not in last or row["cost"] >= last[key]["cost"]):
            last[key] = row
    told: dict[str, dict[str, float]] = {}
    for method in methods:
        spent: dict[str, list[Row]] = defaultdict(list)
        for (task, of, _), row in last.items():
            if of == method and row["cost"] > 0:
                spent[task].append(row)
        told[method] = {task: sum(r["seconds"] for r in of) / sum(r["cost"] for r in of) for task, of in spent.items()}
    return told
