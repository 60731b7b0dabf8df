"""Splitting an ordinary Tune space: what is adapted inside a trial, what is searched across trials.

Continuous are the un-quantised `tune.uniform`, `tune.loguniform` and `tune.randn` domains (or those of them that
`adapt` names). Every other domain is discrete, `tune.grid_search` too. Constants, `tune.sample_from`, "eval" strings,
domains inside lists, and domains inside the values of a choice (a conditional space) stay where they are and are drawn
by Tune's own code: neither adapted nor searched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.axis import Axis
from ray_glocal.scheduling.factor import Factor, Space
from ray_glocal.tune._compat import (
    Categorical,
    Domain,
    Float,
    Integer,
    LogUniform,
    Normal,
    Uniform,
    grid_values,
    resolved,
)
from ray_glocal.tune.reading import finite
from ray_glocal.tune.tuning import BINS, DRAWS, ORDER

Path = tuple[str, ...]

# Under another optimizer the same learning rate means something else: values are not handed down across these.
_DECISIVE = frozenset({"optimizer", "optim", "opt"})


@dataclass(frozen=True)
class Continuous:
    """A hyperparameter that a session adapts.

    Args:
        path: Keys that lead to it in the space.
        axis: Bounds and coordinates.
    """

    path: Path
    axis: Axis

    @property
    def name(self) -> str:
        """Its name: the path, joined by "/"."""
        return self.axis.name


@dataclass(frozen=True)
class Discrete:
    """A hyperparameter that is searched across trials.

    Args:
        path: Keys that lead to it in the space.
        levels: Its values, or strata of its values where it has many: a proposal draws one value of a stratum.
        fixed: Whether the space lists its values, so that there are no others between them.
    """

    path: Path
    levels: tuple[tuple[Any, ...], ...]
    fixed: bool = True

    @property
    def name(self) -> str:
        """Its name: the path, joined by "/"."""
        return "/".join(self.path)

    @property
    def factor(self) -> Factor:
        """The factor without its values."""
        numbers = _ordered(self.levels)
        logs = None if numbers is None or numbers.min() <= 0 else tuple(float(log) for log in np.log(numbers))
        return Factor(self.name, len(self.levels), self.path[-1] in _DECISIVE, _places(numbers), logs)


@dataclass(frozen=True)
class Split:
    """A space in its parts.

    Args:
        continuous: What is adapted inside a trial.
        discrete: What is searched across trials.
        constants: The rest, by name: constants, and what only Tune can resolve.
        source: The space itself.
    """

    continuous: tuple[Continuous, ...]
    discrete: tuple[Discrete, ...]
    constants: Mapping[str, Any]
    source: Mapping[str, Any]

    @cached_property
    def space(self) -> Space:
        """The space without Ray's types, for the pure proposal code."""
        return Space(tuple(d.factor for d in self.discrete), tuple(c.axis for c in self.continuous))

    def domain(self, entry: Discrete) -> Any:
        """What the space holds for a discrete hyperparameter: a domain, or a grid."""
        node: Any = self.source
        for key in entry.path:
            node = next(value for own, value in node.items() if str(own) == key)
        return node

    @property
    def grids(self) -> dict[str, int]:
        """How many values each `tune.grid_search` of the space has."""
        values = {entry.name: grid_values(self.domain(entry)) for entry in self.discrete}
        return {name: len(grid) for name, grid in values.items() if grid is not None}

    def config(
        self,
        levels: Sequence[int],
        start: Mapping[str, float],
        rng: np.random.Generator,
        values: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The configuration of a trial: chosen levels, start values, constants, and the rest resolved by Tune.

        Args:
            levels: Level of each discrete hyperparameter.
            start: Start value of each continuous one by name.
            rng: Draws a value of each stratum, and what is left to Tune.
            values: Discrete values by name that are not to be drawn from their level.
        """
        chosen: dict[Path, Any] = {c.path: float(start[c.name]) for c in self.continuous}
        for factor, level in zip(self.discrete, levels, strict=True):
            drawn = factor.levels[level][int(rng.integers(len(factor.levels[level])))]
            chosen[factor.path] = (values or {}).get(factor.name, drawn)
        config = _replaced(self.source, chosen, ())
        return resolved(config, rng) if left_over(config) else config


def split(space: Mapping[str, Any], *, adapt: Sequence[str] | None = None) -> Split:
    """Split a Tune space into what is adapted, what is searched, and the rest.

    Args:
        space: An ordinary Tune space; nested dicts are flattened to names joined by "/", as Tune does.
        adapt: Names to adapt; None for every continuous one. A continuous domain that is left out is searched, in
            strata.

    Raises:
        ArgumentError: `space` is not a mapping, two of its entries have one name, a grid hides in a list or in another
            domain, or `adapt` names something that is not a continuous domain of it.
    """
    if not isinstance(space, Mapping):
        raise ArgumentError("space", "be a dict of Tune domains", space, "Give the dict you would give to `tune.run`.")
    leaves = list(_leaves(space, ()))
    able = {"/".join(path): path for path, value in leaves if _is_continuous(value)}
    _check_names([path for path, _ in leaves])
    _check_grids(leaves)
    _check_adapt(adapt, able)
    wanted = set(able if adapt is None else adapt)
    continuous = [Continuous(p, _axis("/".join(p), v)) for p, v in leaves if "/".join(p) in wanted]
    searched = [(p, v) for p, v in leaves if "/".join(p) not in wanted and _is_discrete(v)]
    taken = {c.path for c in continuous} | {p for p, _ in searched}
    rest = {"/".join(p): v for p, v in leaves if p not in taken}
    return Split(tuple(continuous), tuple(Discrete(p, _levels(p, v), _listed(v)) for p, v in searched), rest, space)


def _leaves(node: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in node.items():
        here = (*path, str(key))
        if isinstance(value, Mapping) and value and grid_values(value) is None:
            yield from _leaves(value, here)
        else:
            yield here, value


def _is_continuous(value: object) -> bool:
    return isinstance(value, Float) and isinstance(value.get_sampler(), Uniform | LogUniform | Normal)


def _is_discrete(value: object) -> bool:
    return grid_values(value) is not None or isinstance(value, Categorical | Integer | Float)


def _check_names(paths: Sequence[Path]) -> None:
    names = ["/".join(path) for path in paths]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ArgumentError("space", "give each entry a name of its own, levels joined by '/'", double, "Rename one.")


def _check_grids(leaves: Sequence[tuple[Path, Any]]) -> None:
    """Tune multiplies trials by such a grid. A searcher proposes one trial at a time, and would only ever take one."""
    for path, value in leaves:
        inside = value.categories if isinstance(value, Categorical) else grid_values(value)
        if _holds_grid(value if inside is None else inside):
            rule = f"have no `tune.grid_search` inside a list or another domain, as in {'/'.join(path)!r}"
            remedy = "Write `tune.choice` for it, or give the grid an entry of its own."
            raise ArgumentError("space", rule, value, remedy)


def _holds_grid(node: object) -> bool:
    if isinstance(node, Mapping):
        return grid_values(node) is not None or any(_holds_grid(value) for value in node.values())
    if isinstance(node, Categorical):
        return _holds_grid(node.categories)
    return isinstance(node, list | tuple) and any(_holds_grid(value) for value in node)


def _check_adapt(adapt: Sequence[str] | None, able: Mapping[str, Path]) -> None:
    unknown = [name for name in adapt or () if name not in able]
    if unknown:
        rule = f"name continuous domains of the space, which are {sorted(able)}"
        raise ArgumentError("adapt", rule, unknown[0], "Use `tune.uniform`, `tune.loguniform` or `tune.randn` for it.")


def _axis(name: str, domain: Float) -> Axis:
    sampler = domain.get_sampler()
    if isinstance(sampler, Normal):
        return Axis(name, "identity", -math.inf, math.inf, float(sampler.mean), float(sampler.sd))
    lower, upper = float(domain.lower), float(domain.upper)
    return Axis(name, "log" if isinstance(sampler, LogUniform) else "logit", lower, upper)


def _levels(path: Path, value: Any) -> tuple[tuple[Any, ...], ...]:
    grid = grid_values(value)
    values = value.categories if isinstance(value, Categorical) else grid
    if values is not None:
        if not values:
            raise ArgumentError("space", f"offer at least one value for {'/'.join(path)!r}", values, "Name the values.")
        return tuple((entry,) for entry in values)
    return _strata(value)


def _listed(value: Any) -> bool:
    return isinstance(value, Categorical) or grid_values(value) is not None


def _strata(domain: Domain) -> tuple[tuple[Any, ...], ...]:
    """The values of a numeric domain, each a level, or equally likely strata of them where they are many."""
    rng = np.random.default_rng(0)  # a fixed seed: the strata are part of the space, not of a search
    draws = sorted(domain.sample(random_state=rng) for _ in range(DRAWS))
    values = sorted(set(draws))
    if len(values) <= BINS:
        return tuple((value,) for value in values)
    parts = [tuple(draws[i * DRAWS // BINS : (i + 1) * DRAWS // BINS]) for i in range(BINS)]
    return tuple(dict.fromkeys(parts))


def _ordered(levels: Sequence[Sequence[Any]]) -> NDArray[np.float64] | None:
    """The number that each level stands for, a stratum by its median; None where they have no order.

    At least three different numbers have an order: two values are what they are, in whatever order.
    """
    values = [finite(stratum[len(stratum) // 2]) for stratum in levels]
    known = [value for value in values if value is not None]
    return None if len(known) < len(values) or len(set(known)) < ORDER else np.array(known)


def _places(numbers: NDArray[np.float64] | None) -> tuple[float, ...] | None:
    """Where numbers lie between the least, 0, and the greatest, 1.

    In logarithms where that makes their steps more even, as for widths 64, 128 and 256.
    """
    if numbers is None:
        return None
    coordinates = min((numbers, np.log(numbers)), key=_unevenness) if numbers.min() > 0 else numbers
    least, greatest = coordinates.min(), coordinates.max()
    return tuple(float(place) for place in (coordinates - least) / (greatest - least))


def _unevenness(coordinates: NDArray[np.float64]) -> float:
    steps = np.diff(np.unique(coordinates))
    return float(np.std(steps) / np.mean(steps))


def _replaced(node: Mapping[str, Any], chosen: Mapping[Path, Any], path: Path) -> dict[str, Any]:
    """A copy of the space with the chosen values in it. Leaves are not copied: they may be large."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        here = (*path, str(key))
        if here in chosen:
            out[key] = chosen[here]
        elif isinstance(value, Mapping) and grid_values(value) is None:
            out[key] = _replaced(value, chosen, here)
        else:
            out[key] = value
    return out


def left_over(node: object) -> bool:
    """Whether Tune still has to draw something."""
    if isinstance(node, Mapping):
        return "eval" in node or any(left_over(value) for value in node.values())
    if isinstance(node, list | tuple):
        return any(left_over(value) for value in node)
    return isinstance(node, Domain)


__all__ = ["Continuous", "Discrete", "Split", "left_over", "split"]
