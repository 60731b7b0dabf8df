"""The table of trials: configuration, result, lineage, price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray_glocal.report.page.chart import Table
from ray_glocal.report.page.life import Life

NAMES = 12  # columns of the configuration


def trials(metric: str, lives: Sequence[Life], names: Sequence[str], ends: Mapping[str, Mapping[str, float]]) -> Table:
    """One row a trial, the best first.

    Args:
        metric: Key of the value that is optimised.
        lives: The trials.
        names: What tells their configurations apart and is not adapted.
        ends: Last value of each adapted hyperparameter, by trial.
    """
    adapted = [name for name in dict.fromkeys(name for values in ends.values() for name in values) if name not in names]
    chosen = list(names)[:NAMES]
    kept = adapted[: max(0, NAMES - len(chosen))]
    heads = ("rank", "trial", "status", f"best {metric}", "last", "forecast", "made at", "steps", *chosen, *kept)
    heads += ("started from", "step equivalents", "seconds", "ended by")
    rows = tuple(_row(life, chosen, kept, ends.get(life.trial, {})) for life in lives)
    caption = "Every trial, the best first; adapted hyperparameters at their last value."
    return Table("trials-table", caption, heads, rows)


def _row(life: Life, chosen: Sequence[str], kept: Sequence[str], ends: Mapping[str, float]) -> tuple[Any, ...]:
    values = (*(life.configuration.get(name) for name in chosen), *(ends.get(name) for name in kept))
    head = (life.rank, life.trial, life.status, life.best, life.last, life.forecast, life.foretold, life.steps)
    return (*head, *values, life.ancestor, life.paid, life.seconds, life.rule)
