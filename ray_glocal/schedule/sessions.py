"""The schedule that sessions followed: of one that stands there, or of those in a chain of checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_glocal.errors import ArgumentError
from ray_glocal.names import TRACE_FILE, entry_labels, norm_label
from ray_glocal.schedule.path import Segment, Shown, TraceRow, entries, path_of, start_of
from ray_glocal.schedule.schedule import LearnedSchedule, Passage
from ray_glocal.schedule.values import Array, LearnedValues

if TYPE_CHECKING:
    from ray_glocal.session import GlocalSession


@dataclass(frozen=True)
class Tie:
    """What a hyperparameter sets; see `LearnedValues`."""

    option: str | None
    groups: tuple[int, ...] | None = None
    ratios: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Recorded:
    """What a session left behind.

    Args:
        rows: Its trace.
        values: Hyperparameters as they are, by name.
        step: Inner steps taken.
        planned: Inner steps of its whole training.
        lr_scheduler: Name of the class of its lr_scheduler; None where it had none.
        trial: Of Tune; empty outside.
        ties: What hyperparameters set, where that is known for certain; elsewhere their names tell it.
    """

    rows: Sequence[TraceRow]
    values: Mapping[str, Array]
    step: int
    planned: int
    lr_scheduler: str | None
    trial: str = ""
    ties: Mapping[str, Tie] = field(default_factory=dict)

    def tie(self, name: str) -> Tie:
        """What a hyperparameter sets; the last part of a nested name may name an option."""
        return self.ties.get(name) or Tie(name.rsplit("/", 1)[-1])


def session_schedule(session: GlocalSession) -> LearnedSchedule:
    """The schedule of a session; see `LearnedSchedule.from_session`."""
    problem = session.problem
    ties = {}
    for binding in problem.bindings:
        name = binding.hyperparameter.name
        proportions = [problem.proportion(name, group) for group in binding.groups]
        ratios = tuple(each.own / each.reference for each in proportions)
        ties[name] = Tie(None) if binding.field is None else Tie(binding.field, binding.groups, ratios)
    values = {name: value.numpy() for name, value in session.values.items()}
    kind = session._schedule.kind
    return joined([Recorded(session.trace.rows, values, session.step_count, session.total_steps, kind, "", ties)])


def saved(folder: Path, trial: str = "") -> tuple[Recorded, Mapping[str, Any]]:
    """What the session in a checkpoint left behind, and its weights.

    Raises:
        CheckpointError: There is no readable session.
    """
    from ray_glocal.session.state import checkpoint, trace

    plain = checkpoint.read(folder)
    rows = trace.read(folder / TRACE_FILE, plain["step"])
    values = {name: value.numpy() for name, value in plain["values"].items()}
    identity = plain["identity"]
    fields = rows, values, plain["step"], identity["total_steps"], identity["lr_scheduler"], trial
    return Recorded(*fields), plain["model"]


def joined(sessions: Sequence[Recorded]) -> LearnedSchedule:
    """The schedule of sessions of which each began with the weights of the one before.

    Raises:
        ArgumentError: A trace does not tell the way to its session's weights, or the sessions adapted different
            hyperparameters.
    """
    last = sessions[-1]
    unfollowed = _unfollowed(sessions)
    changes: dict[str, list[Array]] = {name: [] for name in last.values}
    steps: list[int] = []
    passages: list[Passage] = []
    total = 0
    for each in sessions:
        _check_alike(each, last)
        expected = -1  # no segment continues what came before
        for segment in _segments(each):
            if segment.begin != expected:
                passages.append(Passage(total, segment.begin, afresh=expected < 0 and bool(steps)))
            expected = segment.end
            steps.append(total)
            for name, end in last.values.items():
                changes[name].append(end if name in unfollowed else _value(name, end.shape, segment.values))
            total += segment.end - segment.begin
    begun = start_of(sessions[0].rows, entries(sessions[0].values, _shown(sessions[0])))
    learned = []
    for name, end in last.values.items():
        start, tie = end if name in unfollowed else _value(name, end.shape, begun), last.tie(name)
        each_change = changes[name] or [start]
        learned.append(
            LearnedValues.of(
                name, start, steps or [0], each_change, option=tie.option, groups=tie.groups, ratios=tie.ratios
            )
        )
    trials = tuple(each.trial for each in sessions if each.trial)
    return LearnedSchedule(
        tuple(learned),
        total,
        tuple(passages) or (Passage(0, 0, afresh=False),),
        last.planned,
        last.lr_scheduler,
        unfollowed,
        trials,
    )


def _shown(recorded: Recorded) -> list[str]:
    """Names that a trace shows."""
    return list(dict.fromkeys(row.hyperparameter for row in recorded.rows))


def _unfollowed(sessions: Sequence[Recorded]) -> tuple[str, ...]:
    """Hyperparameters of many entries of which a trace lacks the values."""
    without = {row.hyperparameter for each in sessions for row in each.rows if row.entries is None}
    return tuple(name for name in sessions[-1].values if norm_label(name) in without)


def _segments(recorded: Recorded) -> list[Segment]:
    return path_of(recorded.rows, entries(recorded.values, _shown(recorded)), recorded.step)


def _check_alike(one: Recorded, other: Recorded) -> None:
    mine, theirs = ({name: value.shape for name, value in each.values.items()} for each in (one, other))
    if mine != theirs or one.lr_scheduler != other.lr_scheduler:
        rule = f"adapt what its heir {other.trial!r} does, beneath the same lr_scheduler"
        remedy = "Move its folder out of the experiment, and the schedule begins with its heir."
        raise ArgumentError("ancestor", rule, (one.trial, mine, one.lr_scheduler), remedy)


def _value(name: str, shape: tuple[int, ...], shown: Mapping[str, Shown]) -> Array:
    labels = entry_labels(name, math.prod(shape))
    flat = shown.get(norm_label(name)) or [entry for label in labels for entry in shown[label]]
    return np.array(flat, dtype=np.float64).reshape(shape)
