"""What an outer step looks like in the trace, and values in the metrics; of many entries norms stand there."""

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ray_glocal.forecast import Array, Forecast
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.names import entry_key, norm_label
from ray_glocal.session.answer import Gate
from ray_glocal.session.state.trace import Row
from ray_glocal.session.tuning import MANY


class Judged(Protocol):
    """What was decided of each of q entries."""

    @property
    def share(self) -> Array:
        """Zero where an entry holds, shape [q]."""
        ...

    def answer(self, index: int) -> Gate:
        """The answer for one entry."""
        ...

    def reason(self, index: int) -> str:
        """Its sentence."""
        ...


@dataclass(frozen=True)
class OuterStep:
    """An outer step, and the hypergradient that led to it: of a window, or of an observation.

    Args:
        problem: The bilevel problem.
        values: Hyperparameters before it.
        after: Hyperparameters after it.
        local: Last local hypergradient in coordinates, shape [q].
        forecast: Its forecast to the end of training, shape [q].
        loss: Validation loss that it is of.
        series: Local hypergradients over the last 1, 2, .. K steps, shape [K, q]; None of an observation.
    """

    problem: Problem
    values: Values
    after: Values
    local: Array
    forecast: Forecast
    loss: float
    series: Array | None = None

    @property
    def obstacle(self) -> str:
        """Why no hyperparameter can be judged by this hypergradient; empty where each can."""
        if not self.forecast.outcome.usable:
            return f": {self.forecast.outcome.sentence}"
        return "" if self.loss > 0 else f": of a loss of {self.loss:.3g} there is no relative change"


def outer_step_rows(step: int, taken: OuterStep, verdicts: Judged) -> list[Row]:
    """Rows of one outer step: an entry each, or one for a hyperparameter of many entries."""
    before, after, obstacle = flat(taken.values), flat(taken.after), taken.obstacle
    table = np.stack([before, taken.local, taken.forecast.mean, taken.forecast.deviation, after])
    moves, wanted = (after != before).tolist(), (verdicts.share > 0).tolist()
    rows = []
    for label, part in _shown(taken.problem):
        value, local, mean, deviation, moved = _norms(table, part)
        gate, reason = verdicts.answer(part.start).value, verdicts.reason(part.start) + obstacle
        if any(moves[part]):
            reason += f"; moves to {moved:.4g}"
        elif any(wanted[part]):
            reason += "; stays at its bound"
        trajectory, entries = _trajectory(taken.series, part), _many(before[part])
        rows.append(Row(step, label, value, local, mean, deviation, gate, reason, trajectory, entries=entries))
    return rows


def _trajectory(series: Array | None, part: slice) -> list[float] | None:
    return None if series is None else [_norm(local[part]) for local in series]


def standing_rows(step: int, problem: Problem, values: Values, gate: str, reason: str) -> list[Row]:
    """Rows of values without a hypergradient: training waits, or went back to earlier weights with them."""
    return _unmeasured(step, problem, values, lambda part: (gate, reason))


def moved_rows(step: int, problem: Problem, before: Values, after: Values, why: str, otherwise: str) -> list[Row]:
    """Rows of values that move without a hypergradient; `why` says it of those that do, `otherwise` of the others."""
    start, end = flat(before), flat(after)

    def answer(part: slice) -> tuple[str, str]:
        if np.array_equal(start[part], end[part]):
            return Gate.HOLD.value, otherwise
        return Gate.ACT.value, f"{why}; moves to {_norm(end[part]):.4g}"

    return _unmeasured(step, problem, before, answer)


def _unmeasured(step: int, problem: Problem, values: Values, answer: Callable[[slice], tuple[str, str]]) -> list[Row]:
    """Rows without derivatives; `answer` gives the gate and the reason of those entries that one shows."""
    entries, nan = flat(values), math.nan
    return [
        Row(step, label, _norm(entries[part]), nan, nan, nan, *answer(part), entries=_many(entries[part]))
        for label, part in _shown(problem)
    ]


def entry_metrics(kind: str, problem: Problem, column: Array) -> dict[str, float]:
    """One metric for each entry, its name after `kind`, or the norm of many."""
    return {kind + entry_key(label): _norm(column[part]) for label, part in _shown(problem)}


def _shown(problem: Problem) -> Iterator[tuple[str, slice]]:
    """Labels and slices of what is shown on its own."""
    start = 0
    for hyper in problem.hyperparameters:
        if hyper.size > MANY:
            yield norm_label(hyper.name), slice(start, start + hyper.size)
        else:
            yield from ((label, slice(i, i + 1)) for i, label in enumerate(hyper.labels, start))
        start += hyper.size


def flat(values: Values) -> Array:
    """All entries, shape [q]."""
    entries: Array = torch.cat([value.flatten() for value in values.values()]).numpy()
    return entries


def _norms(table: Array, part: slice) -> list[float]:
    """What is shown of a part of some columns, shape [n, q]."""
    single = part.stop - part.start == 1
    shown: list[float] = (table[:, part.start] if single else np.linalg.norm(table[:, part], axis=1)).tolist()
    return shown


def _many(part: Array) -> "array[float] | None":
    """The values that a row of norms stands for; None where it shows the one there is."""
    return None if len(part) == 1 else array("d", part.tobytes())


def _norm(part: Array) -> float:
    return float(part[0]) if len(part) == 1 else float(np.linalg.norm(part))
