"""One suite as the page reads it: its curves, and what several tables and sentences ask of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from comparison.bootstrap import Array, Estimate, Over, Resamples, estimate
from comparison.statistics import Curves, Row, mean_ranks, relative_losses

SHARES = {"1/6": 39, "1/3": 79, "1/2": 119, "1": 239}  # places in FINE
SPACES = {"few": "Few hyperparameters", "many": "Many hyperparameters", "data": "Weights of data"}


@dataclass(frozen=True)
class Section:
    """One suite.

    Args:
        rows: Of the suite.
        rivals: Those that are compared.
        whole: Our whole method.
        parts: Our method without one part each.
        told: Curves of the rivals and the whole, on what all of them were run on.
        kinds: The same of the tasks of each kind of space, with rivals that were run on this kind only.
        ablated: Curves of the whole and those without parts.
    """

    rows: Sequence[Row]
    rivals: Sequence[str]
    whole: str
    parts: Sequence[str]
    told: Curves
    kinds: Mapping[str, Curves]
    ablated: Curves

    @property
    def places(self) -> list[int]:
        """Of the rivals among the methods."""
        return [self.told.methods.index(name) for name in self.rivals]

    @property
    def own(self) -> int:
        """Place of the whole among the methods."""
        return self.told.methods.index(self.whole)

    def estimate(self, statistic: Callable[[Array, Resamples], Array], over: Over = "seeds") -> Estimate:
        """A statistic of the final losses."""
        return estimated(self.told.final(), statistic, over)


def omitted(told: Curves) -> str:
    """What is left out, as a sentence."""
    return f" Left out for being incomplete: {'; '.join(told.omitted)}." if told.omitted else ""


def estimated(losses: Array, statistic: Callable[[Array, Resamples], Array], over: Over = "seeds") -> Estimate:
    """A statistic of losses, with its interval."""
    return estimate(partial(statistic, losses), losses.shape[0], losses.shape[2], over)


def interval(told: Estimate, place: Any, number: str, known: bool) -> str:
    """A value with its interval, where there is more than one to resample."""
    value = format(told.value[place], number)
    return f"{value} [{told.lower[place]:{number}}, {told.upper[place]:{number}}]" if known else value


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values."""
    return float(np.exp(np.mean(np.log(values))))


def rank_gap(own: int, losses: Array, resamples: Resamples) -> Array:
    """[resample, method]: our mean rank less that of each."""
    told = mean_ranks(losses, resamples)
    return told[:, [own]] - told


def over_best(places: Sequence[int], losses: Array, resamples: Resamples) -> Array:
    """[resample, method, ...]: geometric means of the losses over those of the best of some methods."""
    return relative_losses(losses, places, resamples)


def over_whole(losses: Array, resamples: Resamples) -> Array:
    """[resample, method, ...]: geometric means of the losses over those of the first method."""
    return relative_losses(losses, [0], resamples)


def best_rivals(section: Section) -> list[int]:
    """Place of each task's best rival, by mean final loss."""
    means = section.told.final().mean(axis=2)
    return [section.places[place] for place in means[:, section.places].argmin(axis=1)]


def has_ablation(section: Section) -> bool:
    """Whether there is anything to say of parts."""
    told = section.ablated
    return bool(told.losses.size) and told.methods[0] == section.whole and len(told.methods) > 1


def part(section: Section, name: str) -> str:
    """The part that a method of ours is without."""
    return name.removeprefix(f"{section.whole}-")
