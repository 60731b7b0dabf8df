"""Experiments side by side: `compare(results, results, ...)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ray_glocal.errors import ArgumentError
from ray_glocal.report import layout
from ray_glocal.report.account import Summary, summarised
from ray_glocal.report.cost import until
from ray_glocal.report.experiment import Experiment, read

_COLUMNS = 4  # experiments beside each other on a page


@dataclass(frozen=True)
class Contender:
    """One experiment among others.

    Args:
        label: Its name, told apart from the others'.
        summary: What it came to.
        reached: Inner-step equivalents and seconds that it took to reach the worst of the bests; None where unknown.
    """

    label: str
    summary: Summary
    reached: tuple[float, float] | None

    def column(self, tests: Sequence[str]) -> list[str]:
        """Its cells, in the order of `Comparison.heads`."""
        summary, cost, best = self.summary, self.summary.cost, self.summary.best
        ended = sum(trial.status in ("pruned", "early") for trial in summary.trials)
        steps, seconds = self.reached or (None, None)
        cells = [None if best is None else best.best, *(summary.tests.get(name) for name in tests)]
        cells += [round(cost.steps), round(cost.seconds, 1), cost.hypergradients, len(summary.trials), ended]
        cells += [None if steps is None else round(steps), None if seconds is None else round(seconds, 1)]
        return [layout.shown(cell) for cell in cells]


@dataclass(frozen=True)
class Comparison:
    """Experiments side by side.

    Args:
        metric: Key of the value that all of them optimise.
        mode: "min" or "max".
        target: The worst of their bests, which each of them reached; None where one has no best.
        contenders: The experiments, as they were given.
    """

    metric: str
    mode: str
    target: float | None
    contenders: tuple[Contender, ...]

    def __str__(self) -> str:
        blocks = [self.contenders[i : i + _COLUMNS] for i in range(0, len(self.contenders), _COLUMNS)]
        tables = [self._block(block) for block in blocks]
        return "\n\n".join([*tables, *map(layout.paragraph, self._notes())])

    @property
    def heads(self) -> list[str]:
        """What is compared, a line each."""
        reach = f"to reach {layout.shown(self.target)}"
        costs = ["cost, inner-step equivalents", "cost, trial seconds", "share of hypergradients"]
        ends = ["trials started", "trials pruned or ended early"]
        return [f"best {self.metric}", *self._tests, *costs, *ends, f"equivalents {reach}", f"trial seconds {reach}"]

    @property
    def _tests(self) -> list[str]:
        return sorted({name for contender in self.contenders for name in contender.summary.tests})

    def _block(self, block: Sequence[Contender]) -> str:
        columns = [contender.column(self._tests) for contender in block]
        room = (layout.WIDTH - max(map(len, self.heads))) // len(block) - 2
        heads = ["", *(layout.cut(contender.label, max(8, room)) for contender in block)]
        return layout.table(heads, list(zip(self.heads, *columns, strict=True)), words=("",))

    def _notes(self) -> list[str]:
        plain = [c.label for c in self.contenders if not c.summary.cost.counted]
        if not plain:
            return []
        return [
            f"Note: {', '.join(plain)} counts reported steps, not inner-step equivalents: validation is not in them. "
            "Seconds are measured alike everywhere."
        ]


def compare(*results: object, metric: str | None = None, mode: str | None = None) -> Comparison:
    """Experiments side by side, and what each paid until it was as good as the worst of them.

    Args:
        results: At least two of what `summary` takes.
        metric: Key of the value that is optimised; None for what the experiments themselves say, or else "val_loss".
        mode: "min" or "max"; None for what the experiments themselves say, or else "min".

    Raises:
        ArgumentError: There are fewer than two, one is no experiment, or they optimise different things.
    """
    if len(results) < 2:
        raise ArgumentError("results", "be at least two experiments", len(results), "Use `report` to look at one.")
    experiments = [read(result, metric, mode) for result in results]
    aims = list(dict.fromkeys((e.metric, e.mode) for e in experiments))
    if len(aims) > 1:
        remedy = "Say which metric and mode to compare by."
        raise ArgumentError("results", "optimise one metric in one direction", aims, remedy)
    summaries = [summarised(experiment) for experiment in experiments]
    target = _worst(experiments[0].sign, summaries)
    labels = _labels(experiments)
    contenders = [
        Contender(label, summary, _reached(experiment, target))
        for label, summary, experiment in zip(labels, summaries, experiments, strict=True)
    ]
    return Comparison(*aims[0], target, tuple(contenders))


def _worst(sign: float, summaries: Sequence[Summary]) -> float | None:
    bests = [summary.best.best if summary.best is not None else None for summary in summaries]
    known = [best for best in bests if best is not None]
    return sign * max(sign * best for best in known) if len(known) == len(bests) else None


def _reached(experiment: Experiment, target: float | None) -> tuple[float, float] | None:
    if target is None or not math.isfinite(target):
        return None
    return until(experiment.runs, experiment.metric, experiment.sign, target)


def _labels(experiments: Sequence[Experiment]) -> list[str]:
    names = [experiment.name for experiment in experiments]
    return [f"{i}: {name}" if names.count(name) > 1 else name for i, name in enumerate(names, start=1)]
