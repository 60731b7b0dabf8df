"""Another searcher of Tune's that proposes the discrete values, in the place of our own model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from ray_glocal.errors import ArgumentError
from ray_glocal.tune._compat import TRAINING_ITERATION, grid_values
from ray_glocal.tune.reading import finite
from ray_glocal.tune.space import Discrete, Split

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suggestion:
    """Discrete values for a trial.

    Args:
        levels: Index of the level that each value belongs to, in the order of the space.
        values: The values themselves by name.
    """

    levels: tuple[int, ...]
    values: Mapping[str, Any]


class Proposer:
    """Puts a searcher's hooks into the words of a `GlocalSearch`.

    It is told of a trial once, when that ends: the forecast of its final metric where it was pruned, else its last.

    Args:
        searcher: Any `ray.tune.search.Searcher`.

    Raises:
        ArgumentError: `searcher` is none.
    """

    def __init__(self, searcher: object) -> None:
        if not isinstance(searcher, Searcher):
            remedy = "Pass e.g. OptunaSearch(seed=0); search algorithms such as BasicVariantGenerator are no Searcher."
            raise ArgumentError("discrete", "be a Searcher of Ray Tune", searcher, remedy)
        self._searcher = searcher
        self._ready = False
        self._asked: set[str] = set()  # trials that it suggested and has not heard the end of

    @property
    def name(self) -> str:
        """What to call it."""
        inner = self._searcher
        while hasattr(inner, "searcher"):
            inner = inner.searcher
        return type(inner).__name__

    def prepare(self, parts: Split, metric: str, mode: str, spec: Mapping[str, Any]) -> None:
        """Tell it the discrete part of the space, once.

        Raises:
            ArgumentError: It has a space already.
        """
        if self._ready:
            return
        if not self._searcher.set_search_properties(metric, mode, _space(parts), **spec):
            remedy = "Build it without a space: GlocalSearch hands it the discrete part of its own."
            raise ArgumentError("discrete", "have no space of its own", self._searcher, remedy)
        self._ready = True

    def suggest(self, trial: str, parts: Split) -> Suggestion | str | None:
        """The discrete values for `trial`; None or `Searcher.FINISHED` where it answers that.

        Raises:
            ArgumentError: It suggests what the space does not hold.
        """
        answer = self._searcher.suggest(trial)
        if answer is None or answer == Searcher.FINISHED:
            return answer  # type: ignore[no-any-return]
        self._asked.add(trial)
        values = {factor.name: _value(answer, factor) for factor in parts.discrete}
        return Suggestion(tuple(_level(factor, values[factor.name]) for factor in parts.discrete), values)

    def end(self, trial: str, metric: str, value: float | None, result: Mapping[str, Any] | None) -> None:
        """Tell it how a trial ended, if the trial is its own: by the final metric, or None for a failure."""
        if trial not in self._asked:
            return
        self._asked.discard(trial)
        if value is None:
            self._searcher.on_trial_complete(trial_id=trial, result=None, error=True)
        else:
            outcome = {TRAINING_ITERATION: 1, **(result or {}), metric: value}
            self._searcher.on_trial_complete(trial_id=trial, result=outcome, error=False)

    def save(self, path: Path) -> bool:
        """Let it write its state; whether it can."""
        try:
            self._searcher.save(str(path))
        except NotImplementedError:
            logger.warning("%s cannot save its state: after a restore it would begin anew.", self.name)
            return False
        return path.exists()

    def restore(self, path: Path, live: Iterable[str]) -> None:
        """Let it read its state, and go on waiting for the ends of trials that were `live`."""
        if not path.exists():
            logger.warning("There is no state of %s at %s: it begins anew.", self.name, path)
            self._asked = set()
            return
        self._searcher.restore(str(path))
        self._ready, self._asked = True, set(live)


def _space(parts: Split) -> dict[str, Any]:
    """The discrete part of a space, nested as it was; grids as choices, for hardly a searcher takes them."""
    space: dict[str, Any] = {}
    for factor in parts.discrete:
        node = space
        for key in factor.path[:-1]:
            node = node.setdefault(key, {})
        domain = parts.domain(factor)
        grid = grid_values(domain)
        node[factor.path[-1]] = domain if grid is None else tune.choice(grid)
    return space


def _value(answer: Mapping[str, Any], factor: Discrete) -> Any:
    node: Any = answer
    for key in factor.path:
        if not isinstance(node, Mapping) or key not in node:
            rule = f"suggest a value for {factor.name!r}"
            raise ArgumentError("discrete", rule, answer, "Let it search the whole of the discrete space.")
        node = node[key]
    return node


def _level(factor: Discrete, value: Any) -> int:
    """The level of a value: its own, or for a number that the strata's draws missed, the nearest one's."""
    for index, level in enumerate(factor.levels):
        if any(entry is value or entry == value for entry in level):
            return index
    known, number = [finite(level[len(level) // 2]) for level in factor.levels], finite(value)
    if number is None or factor.fixed or None in known:
        rule = f"suggest one of the values of {factor.name!r}"
        raise ArgumentError("discrete", rule, value, "Let it search the space that GlocalSearch hands it.")
    gaps = [abs(number - entry) for entry in known if entry is not None]
    return gaps.index(min(gaps))


__all__ = ["Proposer", "Suggestion"]
