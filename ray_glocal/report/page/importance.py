"""How much each choice alone says about which trials do well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_glocal.report.page.figures import median, rounded
from ray_glocal.report.page.life import Life

LEVELS = 8  # different values beyond which numbers are put into groups
GROUPS = 5  # of alike size


@dataclass(frozen=True)
class Importance:
    """One hyperparameter that differs between trials.

    Args:
        hyperparameter: Its name.
        share: Share of the variance of the trials' ranks that its values explain, less what as many values would
            explain by chance (epsilon squared of the Kruskal-Wallis test), 0 to 1; None with too few trials.
        values: Median of the trials' best values for each of its values, or for each group of them.
        trials: How many trials each of these has.
    """

    hyperparameter: str
    share: float | None
    values: Mapping[str, float | None]
    trials: Mapping[str, int]


def importance(lives: Sequence[Life], adapted: Sequence[str]) -> tuple[Importance, ...]:
    """Every hyperparameter that differs between trials and that no session adapts, the most telling first."""
    able = [life for life in lives if life.best is not None]
    names = dict.fromkeys(name for life in able for name in life.configuration if name not in adapted)
    found = [_of(name, able) for name in names]
    return tuple(sorted((each for each in found if each is not None), key=lambda each: -(each.share or 0.0)))


def _of(name: str, lives: Sequence[Life]) -> Importance | None:
    having = [life for life in lives if name in life.configuration]
    labels = grouped([life.configuration[name] for life in having])
    groups: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    if len(groups) < 2:
        return None
    bests = [life.best or 0.0 for life in having]
    values = {label: rounded(median(bests[i] for i in places)) for label, places in groups.items()}
    counts = {label: len(places) for label, places in groups.items()}
    return Importance(name, rounded(explained(_ranks(bests), list(groups.values()))), values, counts)


def grouped(values: Sequence[Any]) -> list[str]:
    """A label for each value: itself, or of many different numbers the range of its group."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= LEVELS:
        return [label(value) for value in values]
    order = sorted(range(len(values)), key=lambda i: values[i])
    group = {place: rank * GROUPS // len(order) for rank, place in enumerate(order)}
    ends: dict[int, list[float]] = {}
    for place, number in group.items():
        ends.setdefault(number, []).append(values[place])
    return [f"{min(ends[group[i]]):.3g} to {max(ends[group[i]]):.3g}" for i in range(len(values))]


def label(value: Any) -> str:
    """A value as the page writes it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def explained(ranks: Sequence[float], groups: Sequence[Sequence[int]]) -> float | None:
    """Share of the variance of `ranks` that groups of their places explain, beyond chance; None with too few."""
    count, kinds = len(ranks), len(groups)
    mean = sum(ranks) / count
    total = sum((rank - mean) ** 2 for rank in ranks)
    if count <= kinds or not total:
        return None
    means = [sum(ranks[i] for i in group) / len(group) for group in groups]
    inside = sum((ranks[i] - mean) ** 2 for group, mean in zip(groups, means, strict=True) for i in group)
    return max(0.0, 1 - inside / (count - kinds) / (total / (count - 1)))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, the mean of them among equals."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks, start = [0.0] * len(values), 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end + 1) / 2
        start = end
    return ranks
