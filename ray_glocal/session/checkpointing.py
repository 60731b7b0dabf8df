"""What a session goes on from: a checkpoint is put together of the states of its parts, and they take them back."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.names import TRACE_FILE
from ray_glocal.session.adaptation import Adaptation
from ray_glocal.session.averaged import AveragedWeights
from ray_glocal.session.course import Course
from ray_glocal.session.reports import Reports
from ray_glocal.session.rows import moved_rows
from ray_glocal.session.state import checkpoint
from ray_glocal.session.state.buffers import set_transient_buffers, transient_buffers
from ray_glocal.session.state.plain import check_plain, decoded, encoded
from ray_glocal.session.state.stream import Stream

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpointing:
    """The parts of a session that have a state.

    Args:
        course: Of the training, with its problem, schedule, validation, guard, trace, cost and notices.
        adaptation: Of its hyperparameters.
        stream: The position in the training data.
        reports: What was reported.
        averaged: The averaged weights.
    """

    course: Course
    adaptation: Adaptation
    stream: Stream
    reports: Reports
    averaged: AveragedWeights

    def save(self, place: Path) -> None:
        """Write all of it.

        Raises:
            ArgumentError: A state holds what could not be restored. Nothing is written then.
        """
        plain, resume = self._as_plain(), self._resume_as_plain()
        check_plain({**plain, **resume})
        place.mkdir(parents=True, exist_ok=True)
        # The trace goes first: rows after the step of the other file, from a save that was cut short, are dropped.
        self.course.trace.save(place / TRACE_FILE)
        checkpoint.write(place, plain, resume)

    def restore(self, folder: Path) -> None:
        """Take all of it back.

        Raises:
            CheckpointError: The folder holds none that can be read, or that of another session, or the weights alone.
        """
        plain = checkpoint.read(folder)
        checkpoint.check_same(plain["identity"], self._identity())
        resume = checkpoint.read_resume(folder, plain)
        self.course.trace.load(folder / TRACE_FILE, plain["step"])  # ahead of the weights, for it may be damaged
        self._load_plain({**plain, **resume})

    def inherit(self, folder: Path) -> None:
        """Take an ancestor's tensors, and its weights if every one fits; a half-inherited network is worse than none.

        Its learning rate came along with them, so that its order of magnitude need not be searched for.

        Raises:
            CheckpointError: The folder holds no session that can be read.
        """
        course, theirs = self.course, checkpoint.read(folder)
        self._take_tensors(theirs["values"])
        if checkpoint.fits(theirs["model"], course.problem.model.state_dict()):
            course.problem.model.load_state_dict(theirs["model"])
            course.guard.inherit(theirs["guard"])
            course.inherited = theirs["inherited"] + theirs["step"] - theirs["began"]
            course.averages.restart()
            self.adaptation.inherit()

    def _take_tensors(self, theirs: Values) -> None:
        """Take the values of an ancestor's tensors of the same shape: no configuration hands them down, as all else."""
        course, problem = self.course, self.course.problem
        tensors = [hyper for hyper in problem.hyperparameters if hyper.value.dim()]
        known = [hyper for hyper in tensors if hyper.name in theirs and theirs[hyper.name].shape == hyper.value.shape]
        if not known:
            return
        values = {**course.values, **{hyper.name: hyper.clip(theirs[hyper.name]) for hyper in known}}
        told = "is taken over from the ancestor", "is the trial's own"
        course.trace.append(moved_rows(course.step_count, problem, course.values, values, *told))
        course.set_values(values)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the session that goes on from it."""
        course = self.course
        return {
            "hypergradients": course.settings.hypergradients,
            "hyperparameters": checkpoint.shapes(course.values),
            "total_steps": course.total_steps,
            "optimizer": type(course.problem.optimizer).__name__,
            "lr_scheduler": course.schedule.kind,
        }

    def _as_plain(self) -> dict[str, Any]:
        """The weights, their average, and all that is small."""
        course = self.course
        return {
            "identity": self._identity(),
            "starts": course.problem.start_values(),
            "model": course.problem.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "schedule": encoded(course.schedule.as_plain()),
            "randomness": Randomness.capture().as_plain(),
            "stream": self.stream.as_plain(),
            "validation": course.validation.as_plain(),
            "adaptation": self.adaptation.as_plain(),
            "guard": course.guard.as_plain(),
            "cost": course.meter.cost.as_plain(),
            "notices": course.notices.as_plain(),
            **course.as_plain(),
            **self.reports.as_plain(),
        }

    def _resume_as_plain(self) -> dict[str, Any]:
        """What is as large as the weights, or several times as large, and only an exact resume needs."""
        course, problem = self.course, self.course.problem
        theirs = problem.averaged
        return {
            "transient": transient_buffers(problem.model),
            "optimizer": encoded(problem.optimizer.state_dict()),
            "scaler": None if problem.scaler is None else problem.scaler.state_dict(),
            "averages": course.averages.as_plain(beside=self.averaged.ours),
            "own_average": None if theirs is None else theirs.state_dict(),
            "own_transient": {} if theirs is None else transient_buffers(theirs),
            "snapshots": self.adaptation.open_as_plain(),
            "points": course.guard.points_as_plain(course.step_count),
        }

    def _load_plain(self, plain: Mapping[str, Any]) -> None:
        course = self.course
        course.load_plain(plain)
        self._load_training(plain)
        course.averages.load_plain(plain["averages"], plain["averaged"])
        course.schedule.load_plain(decoded(plain["schedule"]))
        self.stream.load_plain(plain["stream"])
        course.validation.load_plain(plain["validation"])
        course.plan_reports()
        self.adaptation.load_open(plain["snapshots"])
        self.adaptation.load_plain(plain["adaptation"])
        course.guard.load_plain(plain["guard"], plain["points"], course.problem)
        self.reports.load_plain(plain)
        course.meter.cost.load_plain(plain["cost"])
        course.notices.load_plain(plain["notices"])
        course.problem.reads |= set(course.values)
        Randomness.from_plain(plain["randomness"]).restore()
        self._take_changed(plain["starts"])

    def _load_training(self, plain: Mapping[str, Any]) -> None:
        """Put back what the user has handed over: model, optimizer, scaler and average."""
        problem = self.course.problem
        problem.model.load_state_dict(plain["model"])
        set_transient_buffers(problem.model, plain["transient"])
        problem.optimizer.load_state_dict(decoded(plain["optimizer"]))
        if problem.scaler is not None and plain["scaler"] is not None:
            problem.scaler.load_state_dict(plain["scaler"])
        if problem.averaged is not None and plain["own_average"] is not None:
            problem.averaged.load_state_dict(plain["own_average"])
            set_transient_buffers(problem.averaged, plain["own_transient"])

    def _take_changed(self, starts: Values) -> None:
        """Let what a scheduler such as PBT has changed since the checkpoint count, and not what was adapted there."""
        course, now = self.course, self.course.problem.start_values()
        changed = {name: value for name, value in now.items() if not torch.equal(value, starts[name].to(value))}
        if changed:
            course.set_values({**course.values, **changed})
            assignments = ", ".join(f"{name} = {value.tolist()}" for name, value in changed.items())
            logger.info("Goes on with what its configuration says now: %s.", assignments)
