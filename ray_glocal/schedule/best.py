"""`best_config(results)`: what came out best, where it came from, and how to train it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_glocal.report import layout
from ray_glocal.report.account import AdaptedValue, adapted_of
from ray_glocal.report.experiment import Experiment, read
from ray_glocal.report.folder import RemoteFolder
from ray_glocal.schedule.lineage import Generation, best_run, lineage
from ray_glocal.schedule.sessions import Recorded, joined
from ray_glocal.schedule.trials import handed_down, has_session


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
        path: Where the experiment lies.
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

    def __str__(self) -> str:
        parts = (self._head(), self._choices(), self._values(), self._descent(), self._weights(), self._again())
        return "\n\n".join(part for part in parts if part)

    def _head(self) -> str:
        kind = "smallest" if self.mode == "min" else "largest"
        of = f"the {kind} of {self.trials} trials" if self.trials > 1 else "the only trial"
        return layout.paragraph(f"Best: trial {self.trial}, {self.metric} {layout.shown(self.value)}, {of}.")

    def _choices(self) -> str:
        width = max(map(len, self.chosen), default=0)
        return "\n".join(f"  {name.ljust(width)}  {_value(value)}" for name, value in self.chosen.items())

    def _values(self) -> str:
        rows = [("  " + each.name, *map(layout.shown, (each.start, each.now, each.factor))) for each in self.adapted]
        heads = ("  adapted", "start", "end", "factor")
        table = [layout.table(heads, rows, words=("  adapted",))] if rows else []
        return "\n".join([*table, *(layout.paragraph(sentence, "  ") for sentence in self.bounds)])

    def _descent(self) -> str:
        if not self.ancestors:
            back = f", of which {self.taken_back} were taken back" if self.taken_back else ""
            return f"It trained {self.steps} steps from fresh weights{back}."
        lines = ["It descends from"]
        for each in self.ancestors:
            gift = "weights and values" if each.weights else "start values"
            steps = "" if each.steps is None else f", after {each.steps} steps"
            lines.append(f"  trial {each.trial}{steps}: {gift}")
        whole = f", {self.trained} from the first weights to the last" if self.ancestors[-1].weights else ""
        back = f", for {self.taken_back} were taken back" if whole else f", of which {self.taken_back} were taken back"
        return "\n".join([*lines, f"and trained {self.steps} steps itself{whole}{back if self.taken_back else ''}."])

    def _weights(self) -> str:
        if self.checkpoint is None:
            return "It left no checkpoint."
        return f"Checkpoint: {self.checkpoint}"

    def _again(self) -> str:
        if self.trained is None:
            return ""
        beneath, built = "", ""
        if self.lr_scheduler is not None:
            beneath, built = (
                ", lr_scheduler",
                f"  # with {self.lr_scheduler} over {self.planned} steps, as in the trial",
            )
        lines = [
            "To train it from scratch, by the schedule that it followed and without any adaptation:",
            "",
            f"  python -m ray_glocal schedule {self.path} --out schedule.json",
            "",
            '  schedule = ray_glocal.LearnedSchedule.read("schedule.json")',
            f"  scheduler = schedule.scheduler(optimizer{beneath}){built}",
            f"  for step in range({self.trained}):",
            "      ...  # zero_grad, loss (what it reads: schedule.values(step)), backward, optimizer.step()",
            "      scheduler.step()",
        ]
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
        `ancestors` and `trained` the way to its weights, and `checkpoint` the address of its last checkpoint.

    Raises:
        ArgumentError: `results` is no experiment, or no trial in it reported a finite `metric`.
        CheckpointError: A checkpoint of the best trial or of an ancestor is damaged or of another version.
    """
    experiment = read(results, metric, mode)
    line = lineage(experiment, best_run(experiment))
    sessions = handed_down(line) if has_session(line[-1].checkpoint) else []
    return _gathered(experiment, line, sessions)


def _gathered(
    experiment: Experiment, line: Sequence[Generation], sessions: Sequence[tuple[Recorded, Generation]]
) -> BestConfig:
    run, adapted = line[-1].run, adapted_of(line[-1].run)
    best = run.best(experiment.metric, experiment.sign)
    assert best is not None
    now = {each.name: each.now for each in adapted}
    schedule = joined([recorded for recorded, _ in sessions]) if sessions else None
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
        ancestors=_ancestors(line, sessions),
        trained=None if schedule is None else schedule.steps,
        taken_back=0 if schedule is None else sum(recorded.step for recorded, _ in sessions) - schedule.steps,
        lr_scheduler=None if schedule is None else schedule.lr_scheduler,
        planned=0 if schedule is None else schedule.planned,
        checkpoint=None if checkpoint is None else _address(checkpoint),
        path=experiment.path,
    )


def _ancestors(line: Sequence[Generation], sessions: Sequence[tuple[Recorded, Generation]]) -> tuple[LineageTrial, ...]:
    """Those of the line, with the weights of those whose sessions the best one's goes on from."""
    steps = {generation.run.id: recorded.step for recorded, generation in sessions}
    return tuple(
        LineageTrial(each.run.id, steps.get(each.run.id, int(each.run.steps) or None), each.run.id in steps)
        for each in line[:-1]
    )


def _address(folder: RemoteFolder) -> str:
    kind = folder.filesystem.type_name
    return folder.path if kind == "local" else f"{kind}://{folder.path}"


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


def _value(value: Any) -> str:
    return layout.shown(value) if isinstance(value, float) else str(value)
