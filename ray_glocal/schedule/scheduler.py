"""Training by a learned schedule: what sets an optimizer's options, step by step, without any session."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from ray_glocal.errors import ArgumentError
from ray_glocal.lr_schedulers import bases, taken
from ray_glocal.options import BETAS, in_proportion, is_among, option_in, option_of, set_option
from ray_glocal.schedule.schedule import LearnedSchedule
from ray_glocal.schedule.values import LearnedValues


@dataclass(frozen=True)
class _Setting:
    """An option of a parameter group, and what it follows."""

    learned: LearnedValues
    option: str
    group: int
    ratio: float


class LearnedScheduler:
    """Sets an optimizer's options as a learned schedule says: learning rates, momenta, betas, weight decay.

    Used as torch's own: `scheduler.step()` after each `optimizer.step()`. The options of the first step are set at
    once, and after the last step they stay. Where the session adapted the rate beneath an lr_scheduler, that is handed
    over, is stepped by this one alone, and gives each step the rate that it had then. The optimizer's state goes on
    where an ancestor's weights were handed down, whose heir had begun with a state of its own.

    Args:
        schedule: What to follow.
        optimizer: Built as the session's was.
        lr_scheduler: As the session's was, built for `schedule.planned` steps; None where it had none.

    Raises:
        ArgumentError: The session had an lr_scheduler and here is none, or one of another kind or optimizer, or that
            was stepped already; nothing in the schedule is an option of the optimizer; or its groups are others.
    """

    def __init__(
        self, schedule: LearnedSchedule, optimizer: torch.optim.Optimizer, lr_scheduler: LRScheduler | None = None
    ) -> None:
        self.schedule, self.optimizer, self.lr_scheduler = schedule, optimizer, lr_scheduler
        self.last_step = 0
        self._check_beneath()
        groups = optimizer.param_groups
        self._bases = [float(g["lr"]) for g in groups] if lr_scheduler is None else bases(lr_scheduler, groups)
        self._settings = [setting for each in schedule.learned for setting in self._found(each)]
        if not self._settings:
            rule = f"have an option among those of the schedule, {', '.join(schedule.names)}"
            raise ArgumentError("optimizer", rule, type(optimizer).__name__, "Read them by `schedule.values(step)`.")
        self._starts = {passage.start: passage for passage in schedule.passages}
        self._own = [float(group["lr"]) for group in groups]  # rates as the lr_scheduler alone has them
        self._clock = 0  # steps that it has taken
        self._first = list(self._own), copy.deepcopy(self._beneath())
        self._write()

    def step(self) -> None:
        """Set the options of the next step."""
        self.last_step += 1
        if self.last_step < self.schedule.steps:
            self._advance()
            self._write()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each parameter group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, the lr_scheduler's state with it; the schedule itself is read anew."""
        return {
            "last_step": self.last_step,
            "clock": self._clock,
            "own": list(self._own),
            "bases": list(self._bases),
            "first_own": list(self._first[0]),
            "first": copy.deepcopy(self._first[1]),
            "lr_scheduler": copy.deepcopy(self._beneath()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, the optimizer built and loaded as then."""
        self.last_step, self._clock = state["last_step"], state["clock"]
        self._own, self._bases = list(state["own"]), list(state["bases"])
        self._first = list(state["first_own"]), copy.deepcopy(state["first"])
        if self.lr_scheduler is not None:
            self.lr_scheduler.load_state_dict(copy.deepcopy(state["lr_scheduler"]))
        self._write()

    def _check_beneath(self) -> None:
        wanted, given = self.schedule.lr_scheduler, self.lr_scheduler
        kind = None if given is None else type(given).__name__
        if kind != wanted:
            rule = f"be a {wanted}, beneath which the session adapted the rate" if wanted else "be left out"
            remedy = f"Build it for {self.schedule.planned} steps." if wanted else "The session ran without."
            raise ArgumentError("lr_scheduler", rule, kind, remedy)
        if given is None:
            return
        if given.optimizer is not self.optimizer:
            remedy = "Build it on the optimizer that you hand over beside it."
            raise ArgumentError("lr_scheduler", "schedule the optimizer at hand", kind, remedy)
        if taken(given):
            remedy = "Build it anew; `step()` of the learned one steps it."
            raise ArgumentError("lr_scheduler", "not have been stepped", taken(given), remedy)

    def _found(self, learned: LearnedValues) -> list[_Setting]:
        """What a hyperparameter sets; nothing where losses read it."""
        groups = self.optimizer.param_groups
        chosen = tuple(range(len(groups))) if learned.groups is None else learned.groups
        if max(chosen, default=0) >= len(groups) or (learned.ratios and len(learned.ratios) != len(chosen)):
            rule = f"have the parameter groups of the session, {chosen}, which {learned.name!r} sets"
            raise ArgumentError("optimizer", rule, f"{len(groups)} of them", "Build it as the session's was.")
        if learned.option is None or learned.start.size != 1:
            return []
        names = [option_in(groups[index], learned.option) for index in chosen]
        if None in names:
            return []
        option = str(names[0])
        own = [self._bases[i] if option == "lr" else option_of(groups[i], option) for i in chosen]
        default = option_of(self.optimizer.defaults, option) if option in _known(self.optimizer) else None
        each = _ratios(learned, option, own, default)
        return [_Setting(learned, option, group, ratio) for group, ratio in zip(chosen, each, strict=True)]

    def _advance(self) -> None:
        """Let the lr_scheduler come to where the session's stood ahead of this step."""
        beneath, groups = self.lr_scheduler, self.optimizer.param_groups
        if beneath is None:
            return
        passage, target = self._starts.get(self.last_step), self._clock + 1
        if passage is not None:
            target = passage.clock
            if passage.afresh:
                self._begin_anew(beneath)
        for group, own in zip(groups, self._own, strict=True):
            group["lr"] = own
        for _ in range(self._clock, target):
            beneath.step()
        self._clock = target
        self._own = [float(group["lr"]) for group in groups]

    def _begin_anew(self, beneath: LRScheduler) -> None:
        own, state = self._first
        beneath.load_state_dict(copy.deepcopy(state))
        self._own, self._clock = list(own), 0

    def _beneath(self) -> dict[str, Any]:
        return {} if self.lr_scheduler is None else dict(self.lr_scheduler.state_dict())

    def _write(self) -> None:
        groups = self.optimizer.param_groups
        step = min(self.last_step, self.schedule.steps - 1)
        for group, own in zip(groups, self._own, strict=True):
            group["lr"] = own
        for each in self._settings:
            value = float(each.learned.at(step)) * each.ratio
            if each.option == "lr" and self.lr_scheduler is not None:
                value = self._own[each.group] * (value / self._bases[each.group])
            set_option(groups[each.group], each.option, value)


def _known(optimizer: torch.optim.Optimizer) -> set[str]:
    """Options that an optimizer has a default of."""
    return {*optimizer.defaults, *(BETAS if "betas" in optimizer.defaults else ())}


def _ratios(learned: LearnedValues, option: str, own: Sequence[float], default: float | None) -> tuple[float, ...]:
    """How many times the hyperparameter's value the option of each of its groups is.

    Args:
        learned: The hyperparameter.
        option: Which it sets.
        own: What the groups have, before any schedule.
        default: What groups without an option of their own have; None where that is not known.

    Raises:
        ArgumentError: The groups differ, and the value that the session began with is none of theirs.
    """
    if learned.ratios is not None:
        return learned.ratios
    if not in_proportion(option, own):
        return (1.0,) * len(own)
    start = float(learned.start)
    if not is_among(start, [*own, *(() if default is None else (default,))]):
        rule = f"have a group whose {option!r} is {start:g}, with which the session began, for its groups differ"
        raise ArgumentError("optimizer", rule, list(own), "Build it as the session's was.")
    return tuple(each / start for each in own)
