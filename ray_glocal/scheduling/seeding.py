"""Whom to try next: cover the space, then seed from those who learned most.

Pure functions of the ledger, the space, a seed and the number of proposals made so far, so that another process with
the same ledger makes the same proposal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ray_glocal.scheduling.candidates import candidates
from ray_glocal.scheduling.coverage import covering, quantiles
from ray_glocal.scheduling.evidence import evidence
from ray_glocal.scheduling.factor import Factor, Levels, Space
from ray_glocal.scheduling.ledger import Ledger, Record
from ray_glocal.scheduling.proposed import ProposedTrials, TrialTable
from ray_glocal.scheduling.surrogate import surrogate
from ray_glocal.scheduling.tuning import AWAITED, CERTAINTY, COVERING, EXPLORE, VARIATION

_DIGITS = 9  # to which improvements are compared: processors differ in the last ones


@dataclass(frozen=True)
class Choice:
    """A discrete configuration and why.

    Args:
        levels: Index of the value of each factor.
        reason: A sentence with the numbers that led to it.
        spread: Unit in which losses are compared.
    """

    levels: tuple[int, ...]
    reason: str
    spread: float


@dataclass(frozen=True)
class Proposal:
    """A trial to start.

    Args:
        levels: Index of the value of each factor.
        start: Start value of each continuous hyperparameter.
        origin: "cover", "seed" or "explore".
        ancestor: Trial that the start values were handed down from, if any.
        reason: Sentences with the numbers that led to it.
    """

    levels: tuple[int, ...]
    start: Mapping[str, float]
    origin: str
    ancestor: str | None = None
    reason: str = ""


def propose(ledger: Ledger, space: Space, seed: int, cover: int) -> Proposal:
    """The next trial: the first `cover` proposals cover the space, later ones are seeded from the best so far.

    Until some trial has a finite forecast there is nothing to learn from, and covering goes on.
    """
    index = ledger.proposals
    table = ledger.view(ProposedTrials(space))
    if index < cover or not table.usable.any():
        return covered(space, seed, index, cover)
    rng = np.random.default_rng([seed, index])
    return started(ledger, space, table, seed, chosen(space, table, rng), rng)


def joined(ledger: Ledger, space: Space, seed: int, cover: int, levels: tuple[int, ...], whose: str) -> Proposal:
    """A proposal of discrete values that somebody else chose: what is ours is where the continuous ones start.

    Args:
        ledger: What happened.
        space: The space.
        seed: Of the start values.
        cover: Proposals whose start values cover their domains.
        levels: What was chosen.
        whose: Name of who chose it.
    """
    index, table = ledger.proposals, ledger.view(ProposedTrials(space))
    reason = f"Discrete values by {whose}."
    if index < cover or not table.usable.any():
        reason += f" {_again(table.tried(levels))} Start values cover their domains, number {index + 1}."
        return Proposal(levels, drawn(space, index, seed), "cover", reason=reason)
    choice = Choice(levels, reason, evidence(space, table).units.spread)
    return started(ledger, space, table, seed, choice, np.random.default_rng([seed, index]))


def first_coverage(space: Space, samples: int) -> int:
    """How many proposals cover the space before any is learned from.

    All configurations, where that leaves half of the samples; else a quarter of the samples, but each value of each
    factor twice where half of the samples suffice for that.
    """
    half = -(-samples // 2)
    if space.configurations <= half:
        return space.configurations
    return min(max(-(-samples // COVERING), 2 * max(space.sizes)), half, space.configurations)


def covered(space: Space, seed: int, index: int, cover: int) -> Proposal:
    """The `index`-th proposal of the coverage."""
    levels = covering(space.sizes, index, seed)
    if index < cover:
        reason = f"Number {index + 1} of the {cover} that cover {space.configurations} configurations first."
    else:
        reason = f"Number {index + 1}: covering goes on, for no trial has a finite forecast yet."
    return Proposal(levels, drawn(space, index, seed), "cover", reason=reason)


def started(
    ledger: Ledger, space: Space, table: TrialTable, seed: int, choice: Choice, rng: np.random.Generator
) -> Proposal:
    """A proposal of a chosen configuration: with the values of the nearest trial, or now and then with fresh ones."""
    again = _again(table.tried(choice.levels))
    curious = rng.random() < EXPLORE
    ancestor = None if curious else table.nearest(choice.levels, choice.spread)
    record = None if ancestor is None else ledger.trial(ancestor)
    if ancestor is None or record is None:
        why = f"as in {EXPLORE:.0%} of the proposals" if curious else "for no trial has values that would mean the same"
        reason = f"{choice.reason} {again} Fresh start values, {why}."
        return Proposal(choice.levels, drawn(space, ledger.proposals, seed), "explore", reason=reason)
    own = f"trial {ancestor} ({table.expected(ancestor):.6g})"
    reason = f"{choice.reason} {again} Start values from {own}, varied by {VARIATION:g}."
    return Proposal(choice.levels, handed_down(space, record, rng), "seed", ancestor, reason)


def drawn(space: Space, index: int, seed: int) -> dict[str, float]:
    """Start values from their domains, stratified over `index`."""
    shares = quantiles(len(space.axes), index, seed)
    return {axis.name: axis.draw(share) for axis, share in zip(space.axes, shares, strict=True)}


def handed_down(space: Space, ancestor: Record, rng: np.random.Generator) -> dict[str, float]:
    """The latest adapted values of `ancestor` (its start values where it reports none), slightly varied."""
    known = dict(ancestor.added.start)
    known.update(ancestor.latest.hyper if ancestor.latest else {})
    amounts = VARIATION * rng.standard_normal(len(space.axes))
    return {a.name: a.vary(known[a.name], float(x)) for a, x in zip(space.axes, amounts, strict=True)}


def chosen(space: Space, table: TrialTable, rng: np.random.Generator) -> Choice:
    """The configuration that promises the largest expected improvement on the best expectation so far.

    Trials under way count as if they had come to what is expected of them, and configurations whose trials were all
    pruned, surely worse than the best, are passed over.
    """
    trials = evidence(space, table)
    known = surrogate(space, trials)
    tried = known.believe(trials.tried).mean
    asked = candidates(space, trials.tried, tried, rng)
    best = float(tried.min())
    awaited = known.awaiting(_under_way(table))
    improvement = awaited.believe(asked).improvement(best)
    order = np.argsort(-np.round(improvement / improvement.max(), _DIGITS), kind="stable")
    hopeless = table.hopeless(CERTAINTY)
    numbers = ((table.number(_levels(asked[i])), i) for i in order)
    place = next((i for number, i in numbers if number is None or not hopeless[number]), order[0])
    belief = known.believe(asked[place][None])
    reason = (
        f"Expected to end at {trials.units.loss(float(belief.mean[0])):.6g} "
        f"+- {trials.units.spread * float(belief.deviation[0]):.3g}, against {trials.units.loss(best):.6g} for the "
        f"best of {len(table.levels)} configurations tried: an expected improvement of "
        f"{trials.units.spread * float(improvement[place]):.3g}, the largest."
    )
    return Choice(_levels(asked[place]), reason, trials.units.spread)


def _under_way(table: TrialTable) -> Levels:
    return table.levels[table.configuration[np.flatnonzero(table.waiting)[-AWAITED:]]]


def _levels(row: Levels) -> tuple[int, ...]:
    return tuple(int(level) for level in row)


def _again(tried: int) -> str:
    return "First trial of it." if tried == 0 else f"Trial {tried + 1} of it, with another start."


__all__ = [
    "Factor",
    "Proposal",
    "Space",
    "chosen",
    "covered",
    "drawn",
    "first_coverage",
    "handed_down",
    "joined",
    "propose",
]
