"""The user's learning-rate schedule: the session adapts the rate that the schedule multiplies, or its peak."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.outer_variables import ADAPTED_LR
from ray_glocal.lr_schedulers import clock, parts, peaks
from ray_glocal.options import CLOSE
from ray_glocal.session.notices import Notices
from ray_glocal.session.plan import mismatch

RATES = ("lr", "initial_lr", ADAPTED_LR)  # options of a group that a schedule may set


class Schedule:
    """A torch scheduler that runs on rates of its own; the adapted rate multiplies what it says.

    Every scheduler keeps its shape that way, with its warm-up, floor and peak, whether it computes in closed form or
    from the rate before. What the adapted rate stands for is the rate that the user gave: the optimizer's, which most
    schedulers multiply, or the peak, where the scheduler was built with one and overwrites the optimizer's.

    Args:
        scheduler: The scheduler, or `None`.
        problem: The bilevel problem, its options not yet written.
        notices: Where to say what looks like a slip.

    Raises:
        ArgumentError: A scheduler of another optimizer, one that waits for a metric, or one of a rate of zero.
    """

    def __init__(self, scheduler: LRScheduler | None, problem: Problem, notices: Notices) -> None:
        self._scheduler, self._problem, self._notices = scheduler, problem, notices
        groups = problem.optimizer.param_groups
        peak = {} if scheduler is None else peaks(scheduler, groups)
        problem.own_rates(peak)
        self._bases = list(problem.base_rates())
        self._own = [float(group["lr"]) for group in groups]
        self._parts = () if scheduler is None else tuple(parts(scheduler))
        self._clock = clock(self._parts)
        self._others = [_others(group) for group in groups]
        self._left = list(self._own)  # rates as the session has left them
        if scheduler is not None:
            self._check(scheduler)
            self._compare(peak)

    def _compare(self, peak: Mapping[int, float]) -> None:
        """Say so where the hyperparameter begins elsewhere than at the peak that the scheduler was built with."""
        for binding in self._problem.bindings:
            start, built = float(binding.hyperparameter.value.flatten()[0]), [peak.get(g) for g in binding.groups]
            alone = built[0] if binding.field == "lr" and len(set(built)) == 1 else None
            if alone is not None and abs(start - alone) > CLOSE * alone:
                self._notices.say(
                    "peak",
                    f"{self.kind} was built with max_lr {alone:g}, and {binding.hyperparameter.name!r} begins at "
                    f"{start:g}: that is the peak now. Build both with the same number.",
                )

    def _check(self, scheduler: LRScheduler) -> None:
        kind = type(scheduler).__name__
        if isinstance(scheduler, ReduceLROnPlateau):
            remedy = "Leave it out: the session cuts the rate where that helps."
            raise ArgumentError("lr_scheduler", "depend on the step alone", kind, remedy)
        if scheduler.optimizer is not self._problem.optimizer:
            remedy = "Build it on the optimizer that the session gets."
            raise ArgumentError("lr_scheduler", "schedule the session's optimizer", kind, remedy)
        if not all(self._bases):
            rule = "be built on learning rates above zero, for it multiplies them"
            raise ArgumentError("lr_scheduler", rule, self._bases, "Give the optimizer a rate.")

    @property
    def kind(self) -> str | None:
        """Name of the scheduler's class."""
        return None if self._scheduler is None else type(self._scheduler).__name__

    def step(self) -> None:
        """Let the scheduler take its step.

        Raises:
            ArgumentError: It was stepped beside the session, or has set an option that is adapted, as those do that
                cycle the momentum.
        """
        if self._scheduler is None:
            return
        groups = self._problem.optimizer.param_groups
        before = [others(group) for others, group in zip(self._others, groups, strict=True)]
        for group, own in zip(groups, self._own, strict=True):
            if ADAPTED_LR in group:
                group["lr"] = own
        self._scheduler.step()
        self._clock = clock(self._parts)
        self._own = [float(group["lr"]) for group in groups]
        self.apply()
        if before != [others(group) for others, group in zip(self._others, groups, strict=True)]:
            self._check_left(before)

    def check_alone(self) -> None:
        """Check, ahead of an inner step, that nobody else has stepped the scheduler since the last one, or set a rate.

        Raises:
            ArgumentError: Somebody has.
        """
        if self._scheduler is not None and clock(self._parts) != self._clock:
            remedy = "The session steps it after every inner step: leave out `scheduler.step()`."
            got = f"a {self.kind} stepped beside it"
            raise ArgumentError("lr_scheduler", "be stepped by the session alone", got, remedy)
        for group, left in zip(self._problem.optimizer.param_groups, self._left, strict=True):
            if ADAPTED_LR in group and group["lr"] != left:
                self._say_set(float(left), float(group["lr"]))

    def _say_set(self, left: float, found: float) -> None:
        fate = "stays a factor on what is adapted" if self._scheduler is None else "is lost with its next step"
        self._notices.say(
            "rates",
            f"The learning rate, which the session adapts, was set from {left:.4g} to {found:.4g} beside it; that "
            f"{fate}. Hand a scheduler over as `lr_scheduler=`, and the session steps it.",
        )

    def apply(self) -> None:
        """Multiply the scheduled rates by how far the base rates were adapted."""
        groups = self._problem.optimizer.param_groups
        if self._scheduler is None:
            self._left = [group["lr"] for group in groups]
            return
        for group, own, base in zip(groups, self._own, self._bases, strict=True):
            if ADAPTED_LR in group:
                group["lr"] = own * (group[ADAPTED_LR] / base)
        self._left = [group["lr"] for group in groups]
        self._scheduler._last_lr = list(self._left)  # what `get_last_lr` tells the user's log

    def foresee(self, steps: int) -> Array:
        """Factors on the base rates over the next steps, shape [steps, group]; ones without a scheduler.

        A copy of the scheduler runs ahead, on a stand-in for the optimizer.

        Raises:
            ArgumentError: The scheduler ends earlier.
        """
        groups = self._problem.optimizer.param_groups
        if self._scheduler is None:
            return np.ones((steps, len(groups)))
        alike = [{**group, "params": [torch.zeros(1)]} for group in groups]
        stand_in = torch.optim.Optimizer(alike, {})
        ahead = copy.deepcopy(self._scheduler, {id(self._scheduler.optimizer): stand_in})
        rates = np.empty((steps, len(groups)))
        for group, own in zip(stand_in.param_groups, self._own, strict=True):
            group["lr"] = own
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the stand-in takes no steps of its own
            for step in range(steps):
                rates[step] = [float(group["lr"]) for group in stand_in.param_groups]
                self._step_ahead(ahead, step, steps)
        factors: Array = rates / np.array(self._bases)
        trouble = mismatch(self._scheduler, factors)
        if trouble:
            self._notices.say("schedule", trouble)
        return factors

    def _step_ahead(self, ahead: LRScheduler, step: int, steps: int) -> None:
        try:
            ahead.step()
        except ValueError as error:  # OneCycleLR's, beyond its end
            rule, got = f"last for the {steps} steps of training", f"a {self.kind} that ends after {step}"
            remedy = "It is stepped after every inner step, not after every epoch: build it for as many."
            raise ArgumentError("lr_scheduler", rule, got, remedy) from error

    def _check_left(self, before: Sequence[tuple[Any, ...]]) -> None:
        """Check that what a step of the scheduler has changed, beside rates, is nothing that is adapted."""
        groups = self._problem.optimizer.param_groups
        olds = [
            {**group, **dict(zip(_names(group), values, strict=False))}
            for group, values in zip(groups, before, strict=True)
        ]
        then, now = self._adapted_options(olds), self._adapted_options(groups)
        changed = [name for name, value in now.items() if value != then[name]]
        if changed:
            remedy = "Switch that off, as by `cycle_momentum=False`, or do not adapt it."
            raise ArgumentError("lr_scheduler", "leave the adapted options to the session", changed[0], remedy)

    def _adapted_options(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
        """Values of the adapted options of some groups, learning rates apart."""
        options = [self._problem.rule.options(group) for group in groups]
        return {
            b.hyperparameter.name: tuple(options[index][b.field] for index in b.groups)
            for b in self._problem.bindings
            if b.field is not None and b.field != "lr"
        }

    def as_plain(self) -> dict[str, Any]:
        """The scheduler's state and its own rates, as plain data."""
        state = None if self._scheduler is None else self._scheduler.state_dict()
        return {"kind": self.kind, "state": state, "own": list(self._own), "bases": list(self._bases)}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`, the optimizer's options being loaded."""
        self._left = [group["lr"] for group in self._problem.optimizer.param_groups]
        if self._scheduler is not None:
            self._scheduler.load_state_dict(plain["state"])
            self._own, self._bases = list(plain["own"]), list(plain["bases"])
            self._clock = clock(self._parts)


def _names(group: Mapping[str, Any]) -> list[str]:
    """What a group holds that no schedule of rates sets: its parameters, at least."""
    return [name for name in group if name not in RATES]


def _others(group: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Their values, which are read twice at every step: by one call."""
    return itemgetter(*_names(group), "params")  # twice, so that there are two at least, and a tuple
