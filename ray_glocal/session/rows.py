"""What a window looks like in the trace and in the metrics; hyperparameters of many entries are summed up."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from ray_glocal.forecast import Array, Forecast
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.problem import Values
from ray_glocal.session.gate import Answer, Verdicts
from ray_glocal.session.trace import Row

MANY = 16  # entries: a larger hyperparameter is shown by norms


def window_rows(
    step: int, problem: Problem, values: Values, local: Array, forecast: Forecast, verdicts: Verdicts
) -> list[Row]:
    """Rows of one window: an entry each, or one for a hyperparameter of many entries."""
    flat = torch.cat([value.flatten() for value in values.values()]).numpy()
    why = "" if forecast.outcome.usable else f": {forecast.outcome.sentence}"
    rows = []
    for label, part in _shown(problem):
        value, local_, mean, deviation = (_norm(c[part]) for c in (flat, local, forecast.mean, forecast.deviation))
        gate, reason = _answer(verdicts, part, why)
        rows.append(Row(step, label, value, local_, mean, deviation, gate, reason))
    return rows


def retreat_rows(step: int, problem: Problem, values: Values, reason: str) -> list[Row]:
    """Rows that say what a retreat was for, and which values it led to."""
    flat = torch.cat([value.flatten() for value in values.values()]).numpy()
    nan = math.nan
    return [Row(step, label, _norm(flat[part]), nan, nan, nan, "roll back", reason) for label, part in _shown(problem)]


def entry_metrics(kind: str, problem: Problem, column: Array) -> dict[str, float]:
    """One metric `kind/<name>` for each entry, or the norm of many."""
    return {f"{kind}/{label}": _norm(column[part]) for label, part in _shown(problem)}


def _shown(problem: Problem) -> Iterator[tuple[str, slice]]:
    """Labels and slices of what is shown on its own."""
    start = 0
    for hyper in problem.hyperparameters:
        if hyper.size > MANY:
            yield f"|{hyper.name}|", slice(start, start + hyper.size)
        else:
            yield from ((label, slice(i, i + 1)) for i, label in enumerate(hyper.labels, start))
        start += hyper.size


def _norm(part: Array) -> float:
    return float(part[0]) if len(part) == 1 else float(np.linalg.norm(part))


def _answer(verdicts: Verdicts, part: slice, why: str) -> tuple[str, str]:
    if part.stop - part.start == 1:
        return verdicts.answer(part.start).value, verdicts.reason(part.start) + why
    moved = int(np.count_nonzero(verdicts.share[part]))
    answer = Answer.ACT if moved else Answer.HOLD
    return answer.value, f"{moved} of {part.stop - part.start} entries move{why}"
