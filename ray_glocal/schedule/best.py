"""`best_config(results)`: what came out best, where it came from, and how to train it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, Any

from ray_glocal.errors import ArgumentError
from ray_glocal.report import layout
from ray_glocal.report.account import AdaptedValue, adapted_of
from ray_glocal.report.experiment import Experiment, read
from ray_glocal.schedule.lineage import Generation, best_run, lineage
from ray_glocal.schedule.schedule import LearnedSchedule
from ray_glocal.schedule.sessions import Recorded, joined
from ray_glocal.schedule.trials import handed_down, has_session

if TYPE_CHECKING:
    from torch import Tensor

Sessions = Sequence[tuple[Recorded, Generation]]
_LISTED = 40  # choices that its text names; `chosen` holds all


@dataclass(frozen=True)
class LineageTrial:
    """A trial that the best one descends from.

    Args:
        trial: Its id.
        steps: Steps that it had trained when it handed down what it had; None where that is not known.
        weights: Whether the best trial's weights come from it, and not the start values of its descendant alone.
    """

    trial: str
    steps: int | None
    weights: bool


@dataclass(frozen=True)
class BestConfig:
    """What came out best; its text tells all of it.

    Args:
        config: The trial's whole configuration, nested as it was, with the adapted values of the end in their places.
        trial: Its id.
        metric: Key of the value that is optimised.
        mode: "min" or "max".
        value: The best that it reported.
        trials: How many trials there were.
        steps: Steps that it came to itself.
        chosen: What was not adapted: discrete choices and constants, names joined by "/".
        adapted: What was, with the values of its start and its end.
        bounds: Which of them ended at a bound, in sentences.
        ancestors: The eldest first.
        trained: Steps from the first weights to the last ones, ancestors' included and those that were taken back left
            out; None where no session tells them.
        taken_back: Steps on the way that sessions took back, and that `trained` leaves out.
        lr_scheduler: Name of the class of the session's lr_scheduler; None where it had none.
        planned: Steps that it was built for.
        checkpoint: Address of its last checkpoint; None where there is none.
        path: Where the experiment lies: a path, or the address that was given.
        values: All that the session adapted, as it was at the end, float64 tensors by name; empty where no session
            tells it.
        unfollowed: Which of these have so many entries that a trace holds norms alone: a schedule has them as at the
            end.
        unread: Why the checkpoints do not tell what `trained`, `values` and the rest are read from; empty where they
            do.
    """

    config: Mapping[str, Any]
    trial: str
    metric: str
    mode: str
    value: float
    trials: int
    steps: int
    chosen: Mapping[str, Any]
    adapted: tuple[AdaptedValue, ...]
    bounds: tuple[str, ...]
    ancestors: tuple[LineageTrial, ...]
    trained: int | None
    taken_back: int
    lr_scheduler: str | None
    planned: int
    checkpoint: str | None
    path: str
    values: Mapping[str, Tensor] = field(default_factory=dict, compare=False)
    unfollowed: tuple[str, ...] = ()
    unread: str = ""

    def __str__(self) -> str:
        parts = (self._head(), self._choices(), self._values(), self._descent(), self._weights(), self._again())
        return "\n\n".join(part for part in parts if part)

    def _head(self) -> str:
        kind = "smallest" if self.mode == "min" else "largest"
        of = f"the {kind} of {self.trials} trials" if self.trials > 1 else "the only trial"
        return layout.paragraph(f"Best: trial {self.trial}, {self.metric} {layout.shown(self.value)}, {of}.")

    def _choices(self) -> str:
        shown = dict(islice(self.chosen.items(), _LISTED))
        width = max(map(len, shown), default=0)
        lines = [layout.cut(f"  {name.ljust(width)}  {_value(value)}", layout.WIDTH) for name, value in shown.items()]
        rest = len(self.chosen) - len(shown)
        return "\n".join([*lines, f"  and {rest:,} more: best_config(results).chosen"] if rest else lines)

    def _values(self) -> str:
        many = {f"{name}.norm": name for name in self.values}  # what metrics call those of many entries
        single = [each for each in self.adapted if each.name not in many]
        rows = [("  " + each.name, *map(layout.shown, (each.start, each.now, each.factor))) for each in single]
        heads = ("  adapted", "start", "end", "factor")
        table = [layout.table(heads, rows, words=("  adapted",))] if rows else []
        names = [many[each.name] for each in self.adapted if each.name in many]
        summed = [f"  {name}: {_many(self.values[name])}: best_config(results).values[{name!r}]" for name in names]
        return "\n".join([*table, *summed, *(layout.paragraph(sentence, "  ") for sentence in self.bounds)])

    def _descent(self) -> str:
        if not self.ancestors:
            back = f", of which {self.taken_back} were taken back" if self.taken_back else ""
            return f"It trained {self.steps} steps from fresh weights{back}."
        lines = ["It descends from"]
        for each in self.ancestors:
            gift = "weights and values" if each.weights else "start values"
            steps = "" if each.steps is None else f", after {each.steps} steps"
            lines.append(f"  trial {each.trial}{steps}: {gift}")
        handed = self.ancestors[-1].weights and self.trained is not None
        whole = f", {self.trained} from the first weights to the last" if handed else ""
        back = f", for {self.taken_back} were taken back" if whole else f", of which {self.taken_back} were taken back"
        return "\n".join([*lines, f"and trained {self.steps} steps itself{whole}{back if self.taken_back else ''}."])

    def _weights(self) -> str:
        if self.checkpoint is None:
            return "It left no checkpoint."
        return f"Checkpoint: {self.checkpoint}"

    def _again(self) -> str:
        if self.trained is None:
            return f"By which schedule it trained is not known: {self.unread}" if self.unread else ""
        beneath, built = "", ""
        if self.lr_scheduler is not None:
            beneath, built = (
                ", lr_scheduler",
                f"  # with {self.lr_scheduler} over {self.planned} steps, as in the trial",
            )
        lines = [
            "To train it from scratch, by the schedule that it followed and without any adaptation:",
            "",
            f"  python -m ray_glocal schedule {quote(self.path)} --out schedule.json",
            "",
            '  schedule = ray_glocal.LearnedSchedule.read("schedule.json")',
            f"  scheduler = schedule.scheduler(optimizer{beneath}){built}",
            f"  for step in range({self.trained}):",
            "      ...  # zero_grad, loss (what it reads: schedule.values(step)), backward, optimizer.step()",
            "      scheduler.step()",
        ]
        if self.unfollowed:
            names = ", ".join(self.unfollowed)
            gap = f"Of {names} the trace holds norms alone: in the schedule they stand at each step as at the end."
            lines += ["", layout.paragraph(gap)]
        return "\n".join(lines)


def best_config(results: object, *, metric: str | None = None, mode: str | None = None) -> BestConfig:
    """What came out best in an experiment: choices, adapted values, ancestors, checkpoint, and how to train it again.

    Args:
        results: Path of its folder, a `ray.tune.ResultGrid` or an `ExperimentAnalysis`.
        metric: Key of the value that is optimised; None for what the experiment itself says, or else "val_loss".
        mode: "min" or "max"; None for what the experiment itself says, or else "min".

    Returns:
        A `BestConfig`; print it. `config` is the whole configuration with the adapted values of the end, `trial`,
        `value` and `steps` say whose it is and how far it came, `adapted` holds the values of start and end,
        `ancestors` and `trained` the way to its weights, `values` all that its session adapted, tensors among it, and
        `checkpoint` the address of its last checkpoint. Where a checkpoint cannot be read, `unread` says why, and what
        it would tell is left out.

    Raises:
        ArgumentError: `results` is no experiment, or no trial in it reported a finite `metric`.
    """
    experiment = read(results, metric, mode)
    line = lineage(experiment, best_run(experiment))
    if not has_session(line[-1].checkpoint):
        return _gathered(experiment, line, [], None, "")
    sessions, unreadable = handed_down(line)
    if unreadable is not None:
        return _gathered(experiment, line, sessions, None, str(unreadable))
    try:
        return _gathered(experiment, line, sessions, joined([recorded for recorded, _ in sessions]), "")
    except ArgumentError as mismatch:  # of an earlier release's trace
        return _gathered(experiment, line, sessions, None, str(mismatch))


def _gathered(
    experiment: Experiment,
    line: Sequence[Generation],
    sessions: Sessions,
    schedule: LearnedSchedule | None,
    unread: str,
) -> BestConfig:
    run, adapted = line[-1].run, adapted_of(line[-1].run)
    best = run.best(experiment.metric, experiment.sign)
    assert best is not None
    now = {each.name: each.now for each in adapted}
    checkpoint = line[-1].checkpoint
    return BestConfig(
        config=nested({name: now.get(name, value) for name, value in run.config.items()}),
        trial=run.id,
        metric=experiment.metric,
        mode=experiment.mode,
        value=float(best[experiment.metric]),
        trials=len(experiment.runs),
        steps=int(run.steps),
        chosen={name: value for name, value in run.config.items() if name not in now},
        adapted=adapted,
        bounds=run.bounds,
        ancestors=_ancestors(line, sessions, known=not unread),
        trained=None if schedule is None else schedule.steps,
        taken_back=0 if schedule is None else sum(recorded.step for recorded, _ in sessions) - schedule.steps,
        lr_scheduler=None if schedule is None else schedule.lr_scheduler,
        planned=0 if schedule is None else schedule.planned,
        checkpoint=None if checkpoint is None else checkpoint.address,
        path=experiment.path,
        values=_values(sessions),
        unfollowed=() if schedule is None else schedule.unfollowed,
        unread=unread,
    )


def _ancestors(line: Sequence[Generation], sessions: Sessions, *, known: bool) -> tuple[LineageTrial, ...]:
    """Those of the line, with the weights of those whose sessions the best one's goes on from.

    Where that is not known, for a checkpoint cannot be read, of those that were meant to hand them down.
    """
    steps = {generation.run.id: recorded.step for recorded, generation in sessions}
    return tuple(
        LineageTrial(
            each.run.id,
            steps.get(each.run.id, int(each.run.steps) or None),
            each.run.id in steps or (each.weights and not known),
        )
        for each in line[:-1]
    )


def _values(sessions: Sessions) -> dict[str, Tensor]:
    import torch

    return {name: torch.as_tensor(value) for name, value in sessions[-1][0].values.items()} if sessions else {}


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose names are joined by "/", as it was."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        inside = out
        *folders, last = name.split("/")
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[last] = value
    return out


def _many(value: Tensor) -> str:
    return f"{value.numel():,} entries, {layout.shown(float(value.min()))} to {layout.shown(float(value.max()))}"


def _value(value: Any) -> str:
    return layout.shown(value) if isinstance(value, float) else str(value)
