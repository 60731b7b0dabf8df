"""The outer step: what windows foretold, and a move inside a trust region.

Two phases. The search finds the learning rate's order of magnitude by long steps in short windows, everything else
held. Afterwards every hyperparameter moves by a trust region of its own, in the spirit of Rprop: longer where it
keeps its heading, shorter where it turns.

A hyperparameter of several entries (class weights, a weighting network) moves as one vector. The signs of its entries
would make a poor heading, for most of them drown in noise; its heading is the moving average of its normalised
hypergradients, in which noise cancels and what persists adds up.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ray_glocal.forecast import Array, Forecast
from ray_glocal.hypergradient import Problem
from ray_glocal.options import DECAY_RATES
from ray_glocal.session.settings import Settings
from ray_glocal.session.vectors import agreements, magnitudes, normalised
from ray_glocal.session.windows.gate import Cause, Verdicts
from ray_glocal.session.windows.tuning import (
    CEILING,
    COLD,
    DECAY_SHARE,
    GROW,
    HEADING_MEMORY,
    HEAT_ENDS,
    IDLE,
    LAG,
    LONG,
    PENALTY_SHARE,
    RISE,
    SHRINK,
    TAIL,
)


@dataclass(frozen=True)
class Axes:
    """What the entries of the line are, for the outer step treats them differently; every array has shape [q].

    Args:
        rates: Learning rates.
        decays: Decay rates.
        penalties: Weight decays.
        sizes: Entries of the hyperparameter that each belongs to.
    """

    rates: NDArray[np.bool_]
    decays: NDArray[np.bool_]
    penalties: NDArray[np.bool_]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, problem: Problem) -> "Axes":
        """The axes of a problem."""
        entries = [(b.field, b.hyperparameter.size) for b in problem.bindings for _ in range(b.hyperparameter.size)]
        kinds: tuple[Collection[str], ...] = ({"lr"}, DECAY_RATES, {"weight_decay"})
        rates, decays, penalties = (np.array([f in kind for f, _ in entries]) for kind in kinds)
        return cls(rates, decays, penalties, np.array([size for _, size in entries]))

    @property
    def trust_share(self) -> Array:
        """Share of the settings' trust region that each entry is granted."""
        return np.select([self.decays, self.penalties], [DECAY_SHARE, PENALTY_SHARE], 1.0)

    def band(self, settings: Settings, *, searching: bool) -> Array:
        """Elasticity below which each hyperparameter holds; none in the search: far from a useful rate all are tiny."""
        return np.full(len(self.sizes), 0.0 if searching else settings.dead_band)

    @property
    def vectors(self) -> tuple[slice, ...]:
        """Entries of each hyperparameter that has more than one."""
        found, start = [], 0
        while start < len(self.sizes):
            end = start + int(self.sizes[start])
            found.append(slice(start, end))
            start = end
        return tuple(vector for vector in found if vector.stop - vector.start > 1)


@dataclass(frozen=True)
class Standing:
    """Where training stands as an outer step is taken: by that it holds back cuts, and follows heat.

    Args:
        progress: Share of it that has passed.
        annealed: Whether the user's schedule lowers the learning rate in the end.
        heat: What learning rates are worth now, as a share of the loss; 0 where they do not follow their heat.
    """

    progress: float
    annealed: bool
    heat: float = 0.0

    @property
    def follows_heat(self) -> bool:
        """Whether learning rates follow their heat instead of the forecast."""
        return self.annealed and self.heat > 0 and self.progress < HEAT_ENDS


@dataclass(frozen=True)
class OuterState:
    """Memory of the outer problem between windows; every array has shape [q].

    Args:
        elasticity: Relative change of the final loss per unit of each coordinate, as the last window foretold it.
        deviation: Its standard deviation; infinite before the first window.
        trust: Length of the next outer step; of a vector, the root mean square of its entries.
        heading: Sign of the last move, zero before the first; of a vector, a moving average of headings that have a
            root mean square of one.
        searching: Whether the learning rate's order of magnitude is still searched for.
        idle: Windows in a row in which the search found no reason for a long step onward.
        ceiling: Coordinate that a learning rate is not raised above by its heat: training was lost there.
        heat: Share of the loss that an e-fold more of a learning rate costs within a window; NaN before the first.
        losses: Validation loss at the end of the last few windows, oldest first.
    """

    elasticity: Array
    deviation: Array
    trust: Array
    heading: Array
    ceiling: Array
    heat: Array
    searching: bool
    idle: int = 0
    losses: tuple[float, ...] = ()

    @classmethod
    def start(cls, axes: Axes, settings: Settings) -> "OuterState":
        """Nothing known yet."""
        size = len(axes.rates)
        unknown, trust = np.full(size, np.inf), settings.trust_region * axes.trust_share
        ceiling, heat = unknown.copy(), np.full(size, np.nan)
        return cls(np.zeros(size), unknown, trust, np.zeros(size), ceiling, heat, bool(axes.rates.any()))

    def forget(self, axes: Axes, settings: Settings, line: Array) -> "OuterState":
        """Memory after a retreat from `line` [q]: the hypergradients belong to a path that was given up."""
        ceiling = np.minimum(self.ceiling, line - CEILING)
        fresh = OuterState.start(axes, settings)
        return replace(fresh, ceiling=ceiling, searching=self.searching, idle=self.idle)

    @property
    def rising(self) -> bool:
        """Whether the loss rises."""
        if len(self.losses) < 2 * LAG:
            return False
        return bool(np.mean(self.losses[-LAG:]) > RISE * np.mean(self.losses[:-LAG]))

    def as_plain(self) -> dict[str, Any]:
        """The memory as plain data."""
        return {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in vars(self).items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "OuterState":
        """Inverse of `as_plain`."""
        restored: dict[str, Any] = {n: v.numpy() if isinstance(v, torch.Tensor) else v for n, v in plain.items()}
        return cls(**restored)


def learn(state: OuterState, forecast: Forecast, loss: float) -> OuterState:
    """Take over what a window foretold.

    Args:
        state: Memory so far.
        forecast: Hypergradient in coordinates at the end of training.
        loss: Validation loss at the window's end; turns it into an elasticity.
    """
    state = replace(state, losses=(*state.losses, loss)[-2 * LAG :])
    if not forecast.outcome.usable or not loss > 0:
        return replace(state, deviation=np.full_like(state.deviation, np.inf))
    return replace(state, elasticity=forecast.mean / loss, deviation=forecast.deviation / loss)


def restrain(verdicts: Verdicts, state: OuterState, axes: Axes, plan: Standing) -> Verdicts:
    """Hold what the gate would let pass but the phase of training speaks against.

    In the search only learning rates move. After it, beneath a schedule that anneals, they follow their heat at first.
    Otherwise a cut of learning rate or momentum waits as long as the loss does
    not rise: what a smaller step gains by damping noise can be had at any later time, while progress that it forgoes
    is lost; a window sees only the gain (short-horizon bias, Wu et al. 2018, arXiv:1803.02021). At the end of training
    the later time has come, unless the user's schedule takes care of it.

    Args:
        verdicts: The gate's answers.
        state: Memory, the last window included.
        axes: Which entries are learning rates and decay rates.
        plan: Where training stands.
    """
    if state.searching:
        return verdicts.hold(~axes.rates, Cause.SEARCH)
    if plan.follows_heat:
        verdicts = verdicts.overrule(axes.rates, Cause.HEAT)
    late = plan.progress > 1 - TAIL and not plan.annealed
    if late or state.rising or len(state.losses) < 2 * LAG:
        return verdicts
    return verdicts.hold((axes.rates | axes.decays) & (state.elasticity > 0), Cause.PATIENCE)


def move(
    state: OuterState, verdicts: Verdicts, axes: Axes, promised: Array, settings: Settings
) -> tuple[Array, OuterState]:
    """Step down the elasticity by the granted share of the trust region.

    Args:
        state: Memory.
        verdicts: The gate's answers, restrained.
        axes: Which entries are learning rates, and which form a vector.
        promised: Relative change of the loss within a window per unit of each coordinate, shape [q]: how fast the
            first-order model comes to promise more than it can keep.
        settings: Trust regions.

    Returns:
        Displacement on the line, shape [q], and the memory after it.
    """
    heading = np.where(verdicts.share > 0, -np.sign(state.elasticity), 0.0)
    if state.searching:
        region = np.full_like(heading, settings.search_region)
        return _within_promise(heading, verdicts.share, region, promised, settings.promise), state
    agreement = agreements(heading, state.heading, ())
    for vector in axes.vectors:
        if heading[vector].any():
            agreement[vector] = agreements(-state.elasticity, state.heading, [vector])[vector]
            heading[vector] = _averaged(state.heading[vector], -state.elasticity[vector])
    factor = np.where(agreement > 0, GROW**agreement, SHRINK**-agreement)
    shortest, longest = settings.trust_limits
    trust = np.clip(state.trust * factor, shortest * axes.trust_share, longest * axes.trust_share)
    kept = np.where(heading != 0, heading, state.heading)
    displacement = _within_promise(heading, verdicts.share, trust, promised, settings.promise, axes.vectors)
    return displacement, replace(state, trust=trust, heading=kept)


def raised_from_cold(
    state: OuterState, displacement: Array, axes: Axes, line: Array, promised: Array, settings: Settings
) -> Array:
    """A step of the search that does not leave a rate where it does next to nothing, whatever the noise says of it.

    Args:
        state: Memory; outside the search the step stays as it is.
        displacement: The step, shape [q].
        axes: Which entries are learning rates.
        line: Coordinates of the present values, shape [q]; none is raised to where training was lost.
        promised: Relative change of the loss within the window per unit of each coordinate, shape [q].
        settings: The search region.
    """
    seen = state.searching & np.isfinite(state.deviation)  # else the window could not be judged
    cold = seen & axes.rates & (np.abs(promised) < COLD) & (displacement <= 0)
    return np.where(cold, np.clip(state.ceiling - line, 0.0, settings.search_region), displacement)


def _averaged(before: Array, down: Array) -> Array:
    """Heading of a vector: where it went before and the way down now, averaged; it goes down."""
    fresh = (1 - HEADING_MEMORY) * normalised(down)
    average: Array = HEADING_MEMORY * before + fresh
    return average if np.mean(average * fresh) > 0 else fresh  # a way that now leads up is forgotten


def search(state: OuterState, displacement: Array, axes: Axes, settings: Settings) -> OuterState:
    """Judge by the last step of the search whether it goes on.

    It does while some learning rate takes a long step and does not turn back; a turn says that the order of magnitude
    lies between, and a step that its bounds cut short that there is nowhere to go.

    Args:
        state: Memory after the step, searching.
        displacement: What came of the step inside the bounds, shape [q].
        axes: Which entries are learning rates.
        settings: The search region.
    """
    heading = np.sign(displacement)
    long = np.abs(displacement) >= LONG * settings.search_region
    onward = axes.rates & long & (heading * state.heading >= 0)
    idle = 0 if onward.any() else state.idle + 1
    if idle >= IDLE:
        return after_search(replace(state, idle=idle))
    return replace(state, idle=idle, heading=np.where(heading != 0, heading, state.heading))


def after_search(state: OuterState) -> OuterState:
    """Memory after the search; where it went says nothing about the moves that follow."""
    return replace(state, searching=False, heading=np.zeros_like(state.heading))


def _within_promise(
    heading: Array, share: Array, longest: Array, promised: Array, promise: float, vectors: Sequence[slice] = ()
) -> Array:
    """A step along `heading`: each hyperparameter, and all of them together, promise no more than `promise`."""
    most = np.finfo(float).max
    rate = np.where(heading != 0, np.nan_to_num(np.abs(promised), nan=most, posinf=most), 0.0)
    # An entry that promises nothing may go as far as it likes.
    limit = np.divide(promise, rate, out=np.full_like(rate, np.inf), where=rate > promise / most)
    for vector in vectors:
        together = np.sum(np.minimum(np.abs(heading[vector]) * rate[vector], most / rate.size))
        limit[vector] = promise / together if together > promise / most else np.inf
    displacement: Array = heading * share * np.minimum(longest, limit)
    total = float(np.sum(np.abs(displacement) * rate))
    return displacement * (promise / total) if total > promise else displacement


def potential(
    elasticity: Array,
    deviation: Array,
    longest: Array,
    loss: float,
    steps_left: int,
    vectors: Sequence[slice] = (),
) -> float:
    """First-order improvement of the final loss that the remaining outer steps can still buy.

    Each hyperparameter contributes what its elasticity promises, shrunk by its noise, over the distance that the
    outer step allows it; no more in all than the loss itself.

    Args:
        elasticity: Relative change of the loss per unit of each coordinate, shape [q].
        deviation: Its standard deviation, shape [q].
        longest: How far each may move in one outer step, shape [q]; of a vector, the root mean square of its entries.
        loss: Validation loss that the elasticities refer to.
        steps_left: Outer steps that remain.
        vectors: Entries of each hyperparameter that has more than one.
    """
    size, noise = magnitudes(elasticity, vectors), magnitudes(deviation, vectors)
    known = np.isfinite(size) & np.isfinite(noise)
    if not loss > 0 or not math.isfinite(loss) or not known.any():
        return 0.0
    distance = longest.copy()
    for vector in vectors:
        distance[vector] /= vector.stop - vector.start  # each entry stands for the whole
    size, noise, distance = size[known], noise[known], distance[known]
    with np.errstate(over="ignore"):  # more than the loss is no more than the loss
        certain = size / np.maximum(np.hypot(size, noise), np.finfo(float).tiny)
        promise = float(np.sum(size * certain**2 * distance))
    return loss * min(1.0, promise * steps_left) if steps_left > 0 else 0.0
