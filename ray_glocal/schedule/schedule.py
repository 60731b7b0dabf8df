"""The schedule that hyperparameters followed on the way to a training's final weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ray_glocal.errors import ArgumentError
from ray_glocal.schedule.values import LearnedValues

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ray_glocal.schedule.scheduler import LearnedScheduler
    from ray_glocal.session import GlocalSession

_LISTED = 16  # entries; of more the smallest and the largest are told


@dataclass(frozen=True)
class Passage:
    """Steps in a row of one session.

    A session that went back went on from earlier weights, but not from an earlier place of its lr_scheduler.

    Args:
        start: Step of the schedule that it begins with.
        clock: Steps that the lr_scheduler had taken then.
        afresh: Whether a trial begins here, with an lr_scheduler and an optimizer of its own.
    """

    start: int
    clock: int
    afresh: bool


@dataclass(frozen=True)
class LearnedSchedule:
    """The values of every adapted hyperparameter at each step that led to a training's final weights.

    Steps that a session took back are not in it, and those of the ancestors that handed down their weights are. Reading
    it from a file and training by it need nothing of this library but this part, which loads torch and NumPy alone.

    Args:
        learned: The hyperparameters.
        steps: Steps from the first weights to the last.
        passages: Where the session, or its ancestors', went on from earlier weights; the first begins at 0.
        planned: Steps that the session's lr_scheduler was built for.
        lr_scheduler: Name of its class; None where the session ran without.
        unfollowed: Hyperparameters of so many entries that a trace holds norms alone: `learned` has their values of the
            end, at each step.
        trials: Whose steps they are, the eldest ancestor first; empty of a session outside of Tune.
    """

    learned: tuple[LearnedValues, ...]
    steps: int
    passages: tuple[Passage, ...]
    planned: int
    lr_scheduler: str | None = None
    unfollowed: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()

    @classmethod
    def of(cls, results: object, *, metric: str | None = None, mode: str | None = None) -> LearnedSchedule:
        """The schedule of the best trial of an experiment, and of the ancestors whose weights it began with.

        Args:
            results: Path of its folder, a `ray.tune.ResultGrid` or an `ExperimentAnalysis`.
            metric: Key of the value that is optimised; None for what the experiment itself says, or else "val_loss".
            mode: "min" or "max"; None for what the experiment itself says, or else "min".

        Raises:
            ArgumentError: `results` is no experiment, nothing in it reported `metric`, or its best trial has no
                checkpoint of a session.
            CheckpointError: That, or an ancestor's, is damaged or of another version.
        """
        from ray_glocal.schedule.trials import best_schedule

        return best_schedule(results, metric, mode)

    @classmethod
    def from_session(cls, session: GlocalSession) -> LearnedSchedule:
        """The schedule of a session, up to the step at which it stands; without its ancestor's.

        Raises:
            ArgumentError: Its trace does not tell the way to its weights.
        """
        from ray_glocal.schedule.sessions import session_schedule

        return session_schedule(session)

    @classmethod
    def read(cls, file: str | os.PathLike[str]) -> LearnedSchedule:
        """The schedule in a file that `write` wrote.

        Raises:
            ArgumentError: It is no such file.
        """
        from ray_glocal.schedule.files import read

        return read(file)

    def write(self, file: str | os.PathLike[str]) -> None:
        """Write it to a file whose name ends in `.json` or `.csv`; either can be read again.

        Raises:
            ArgumentError: The name ends otherwise, or the file cannot be written.
        """
        from ray_glocal.schedule.files import write

        write(self, file)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the hyperparameters."""
        return tuple(each.name for each in self.learned)

    def __getitem__(self, name: str) -> LearnedValues:
        """The values of one hyperparameter, to be called with a step.

        Raises:
            ArgumentError: There is none of that name.
        """
        found = next((each for each in self.learned if each.name == name), None)
        if found is None:
            rule = f"be one of {', '.join(self.names) or 'none'}"
            raise ArgumentError("name", rule, name, "Print the schedule to see each of them.")
        return found

    def values(self, step: int) -> Mapping[str, Tensor]:
        """Every hyperparameter at the step that follows `step` others, as losses read them: tensors by name."""
        import torch

        kind = torch.get_default_dtype()
        return {each.name: torch.as_tensor(each.at(step)).to(kind) for each in self.learned}

    def stretched(self, total_steps: int) -> LearnedSchedule:
        """The same values at the same share of another number of steps.

        Raises:
            ArgumentError: `total_steps` is below 1, or this schedule has no step.
        """
        if total_steps < 1 or self.steps < 1:
            remedy = "Hand the steps that you will train for; a schedule without a step has nothing to stretch."
            rule = "be at least 1, as those of the schedule"
            raise ArgumentError("total_steps", rule, (total_steps, self.steps), remedy)

        def place(step: int) -> int:
            return round(step * total_steps / self.steps)

        def before_the_end(step: int) -> int:
            return min(place(step), total_steps - 1)

        learned = tuple(each.moved([before_the_end(int(step)) for step in each.steps]) for each in self.learned)
        last: dict[int, Passage] = {}
        for passage in self.passages:  # several may fall together
            start = before_the_end(passage.start)
            afresh = passage.afresh or (start in last and last[start].afresh)
            last[start] = Passage(start, place(passage.clock), afresh)
        return replace(
            self, learned=learned, steps=total_steps, passages=tuple(last.values()), planned=place(self.planned)
        )

    def smoothed(self, width: int) -> LearnedSchedule:
        """Each value replaced by the mean over `width` steps around it; by the geometric mean for rates.

        Raises:
            ArgumentError: `width` is below 1.
        """
        if width < 1:
            raise ArgumentError("width", "be at least 1", width, "It counts the steps that a mean is taken over.")
        return replace(self, learned=tuple(each.smoothed(width, self.steps) for each in self.learned))

    def scheduler(
        self, optimizer: torch.optim.Optimizer, lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
    ) -> LearnedScheduler:
        """What sets an optimizer's options as the schedule says; `step()` it after each step of the optimizer.

        The options of the first step are set at once, and after the last step they stay. It has the `get_last_lr`,
        `state_dict` and `load_state_dict` of torch's schedulers.

        Args:
            optimizer: Built as the session's was.
            lr_scheduler: Of the kind that the session had, built for `planned` steps; nobody else may step it.

        Raises:
            ArgumentError: The session had an lr_scheduler and here is none, or one of another kind or optimizer, or
                that was stepped already; nothing in the schedule is an option of the optimizer; or its groups are
                others.
        """
        from ray_glocal.schedule.scheduler import LearnedScheduler

        return LearnedScheduler(self, optimizer, lr_scheduler)

    @property
    def taken_back(self) -> int:
        """Steps that its sessions took beside these, and went back over."""
        leaps = [
            later.clock - earlier.clock - (later.start - earlier.start)
            for earlier, later in pairwise(self.passages)
            if not later.afresh
        ]
        return sum(leaps)

    def __str__(self) -> str:
        lines = [f"Learned schedule of {self.steps} steps{self._whose()}{self._beneath()}"]
        lines += [f"  {_line(each)}{self._known(each.name)}" for each in self.learned]
        if self.taken_back:
            lines.append(f"  {self.taken_back} further steps were taken back, and are not in it.")
        return "\n".join(lines)

    def _known(self, name: str) -> str:
        return "; the trace holds norms alone: this is the end" if name in self.unfollowed else ""

    def _whose(self) -> str:
        return f", of {' and then '.join(self.trials)}" if self.trials else ""

    def _beneath(self) -> str:
        return f"; beneath a {self.lr_scheduler} of {self.planned} steps" if self.lr_scheduler else ""


def _line(each: LearnedValues) -> str:
    changes, count = len(each.steps) - 1, each.start.size
    ends = " -> ".join(_shown(value.flatten().tolist()) for value in (each.values[0], each.values[-1]))
    many = f"{count:,} entries, " if count > _LISTED else ""
    return f"{each.name}: {many}{ends}, in {changes} {'change' if changes == 1 else 'changes'}"


def _shown(entries: Sequence[Any]) -> str:
    if len(entries) > _LISTED:
        return f"{min(entries):.4g} to {max(entries):.4g}"
    numbers = ", ".join(f"{entry:.4g}" for entry in entries)
    return numbers if len(entries) == 1 else f"[{numbers}]"
