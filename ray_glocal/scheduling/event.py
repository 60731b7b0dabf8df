"""What happened in an experiment: the facts that the ledger keeps and every decision is computed from.

Losses are always minimised here: whoever maximises a metric hands over its negative. Every event has a `key`, and an
event whose key is already known is a repetition and changes nothing. That is what makes replays after a crash harmless.
Events have slots: an experiment of ten thousand trials keeps a hundred thousand of them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

Scalar = bool | int | float | str | None

REPEATED = "repeat"  # origin of a trial that Tune's `Repeater` made of a proposal
FORGOTTEN = "forgotten"  # origin of a trial whose proposal a restored memory, saved too early, does not hold


@dataclass(frozen=True, slots=True)
class Added:
    """A trial exists and will run.

    Args:
        trial: Tune's trial id.
        config: Its configuration, flat, names joined by "/".
        attempt: 0 for a new trial; one more each time that it returns after an end or an error.
        ancestor: Trial whose values it starts from.
        levels: Index of the chosen value of each discrete factor, in the order of the space; empty where the trial
            was not proposed by our own searcher.
        start: Start values of the continuous hyperparameters by name.
        origin: How it was proposed: "cover", "seed" or "explore"; `REPEATED`; `FORGOTTEN`; empty where somebody else
            proposed it.
        reason: Why, in sentences with the numbers that led to it; empty where somebody else proposed it.
        weights: Address of the ancestor's checkpoint, where its weights are handed down too.
    """

    trial: str
    config: Mapping[str, Scalar] = field(default_factory=dict)
    attempt: int = 0
    ancestor: str | None = None
    levels: tuple[int, ...] = ()
    start: Mapping[str, float] = field(default_factory=dict)
    origin: str = ""
    reason: str = ""
    weights: str | None = None

    @property
    def key(self) -> Hashable:
        """A trial is added once per attempt."""
        return ("added", self.trial, self.attempt)

    @property
    def proposed(self) -> bool:
        """Whether our own searcher proposed this trial, or the one that it repeats."""
        return bool(self.origin)

    @property
    def repeats(self) -> bool:
        """Whether it repeats a proposal, and is none of its own."""
        return self.origin == REPEATED


@dataclass(frozen=True, slots=True)
class Reported:
    """A trial reported a result.

    Args:
        trial: Tune's trial id.
        step: The trial's own clock: inner steps, or training iterations for foreign trainables.
        loss: The metric as a loss (lower is better); may be NaN or infinite.
        mean: Forecast loss at the end of training; None where nobody forecast.
        deviation: Standard deviation of that forecast, in units of loss; None where unknown.
        potential: First-order improvement of the final loss that the remaining outer steps can still buy.
        hyper: Adapted values of the continuous hyperparameters at this step.
        cost: Inner-step equivalents spent so far, hypergradients included.
        slopes: Change of the final loss per e-fold of discrete hyperparameters that have an order, by name, from a
            differentiable relaxation of the choice.
        total: Step at which the trial's own training ends; None where nobody says.
        age: Steps that led to the present weights since the trial last began anew; None where nobody says.
        inherited: Steps that the weights had been trained before, by ancestors.
        searching: Whether the order of magnitude of the learning rate is still searched for.
        recalled: Whether a restored experiment told of it, whose memory was older: nobody answered it.
    """

    trial: str
    step: float
    loss: float
    mean: float | None = None
    deviation: float | None = None
    potential: float | None = None
    hyper: Mapping[str, float] = field(default_factory=dict)
    cost: float | None = None
    slopes: Mapping[str, float] = field(default_factory=dict)
    total: float | None = None
    age: float | None = None
    inherited: float = 0.0
    searching: bool = False
    recalled: bool = False

    @property
    def ended(self) -> bool:
        """Whether the trial has taken all its own steps, finitely: nothing is saved by calling it pruned."""
        return self.total is not None and self.step >= self.total and self.finite

    @property
    def heir(self) -> bool:
        """Whether its weights had been trained before: it is not compared on rungs with those that start afresh."""
        return self.inherited > 0

    @property
    def key(self) -> Hashable:
        """A trial reports once per step; iterations that are run again after a recovery are repetitions."""
        return ("reported", self.trial, self.step)

    @property
    def finite(self) -> bool:
        """Whether the loss is a number that can still win."""
        return math.isfinite(self.loss)

    @property
    def final(self) -> float:
        """The best guess at the final loss: the forecast, or the loss itself where there is none."""
        return self.loss if self.mean is None else self.mean

    @property
    def prospect(self) -> float:
        """The forecast final loss, or the present one where that is lower: nothing takes away what was reached."""
        return min(self.final, self.loss)


@dataclass(frozen=True, slots=True)
class Completed:
    """A trial ended: by itself, by a stopper, or because it was told to.

    Args:
        trial: Tune's trial id.
        attempt: The attempt that ended.
        checkpoint: Address of its last persisted checkpoint; None where it has none.
    """

    trial: str
    attempt: int = 0
    checkpoint: str | None = None

    @property
    def key(self) -> Hashable:
        """A trial ends once per attempt."""
        return ("completed", self.trial, self.attempt)


@dataclass(frozen=True, slots=True)
class Errored:
    """A trial's process failed.

    Args:
        trial: Tune's trial id.
        attempt: The attempt that failed.
        final: Whether Tune gave the trial up; otherwise it comes back from its last checkpoint.
        lost: Whether a driver's crash took it, of which Tune's last snapshot did not know: it says nothing against the
            trial's configuration.
    """

    trial: str
    attempt: int = 0
    final: bool = True
    lost: bool = False

    @property
    def key(self) -> Hashable:
        """A trial fails once per attempt; it may be given up after it was to come back."""
        return ("errored", self.trial, self.attempt, self.final)


@dataclass(frozen=True, slots=True)
class Settled:
    """A setting that the experiment itself determined, so that a restored run uses the same one.

    Args:
        name: Name of the setting.
        value: Its value.
    """

    name: str
    value: float

    @property
    def key(self) -> Hashable:
        """A setting is settled once."""
        return ("settled", self.name)
