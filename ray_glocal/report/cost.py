"""What trials cost: work that was lost in a failure and done again counts twice, for it was paid twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ray_glocal.names import COST_SECONDS, COST_SHARE, COST_STEPS
from ray_glocal.report.trial import Row, Run, number

_WALL = "time_this_iter_s"


@dataclass(frozen=True)
class TotalCost:
    """What some trials cost.

    Args:
        steps: Inner-step equivalents, hypergradients and validation included where trials count them, and the
            reported steps of those that do not.
        counted: Whether every trial counted its own inner-step equivalents.
        seconds: Seconds between results, summed over the trials.
        hypergradients: Share of a session's seconds that went into anything but plain steps; None without a session.
    """

    steps: float
    counted: bool
    seconds: float
    hypergradients: float | None


def cost_of(runs: Sequence[Run]) -> TotalCost:
    """The cost of `runs` together."""
    steps = sum(payments[-1] for run in runs if (payments := steps_paid(run)))
    seconds = sum(number(row, _WALL) or 0.0 for run in runs for row in run.rows)
    spent = sum(_total(run, lambda row: number(row, COST_SECONDS)) for run in runs)
    extra = sum(_total(run, _extra_seconds) for run in runs)
    counted = all(_counts(run) for run in runs if run.rows)
    return TotalCost(steps, counted and bool(runs), seconds, extra / spent if spent else None)


def steps_paid(run: Run) -> list[float]:
    """Inner-step equivalents paid up to each row of a trial."""
    key = COST_STEPS if _counts(run) else run.clock
    return paid(run, lambda row: number(row, key))


def seconds_paid(run: Run) -> list[float]:
    """Seconds paid up to each row of a trial."""
    total, out = 0.0, []
    for row in run.rows:
        total += number(row, _WALL) or 0.0
        out.append(total)
    return out


def paid(run: Run, meter: Callable[[Row], float | None]) -> list[float]:
    """What was paid up to each row, by a meter that goes back when a trial goes back to its checkpoint.

    A trial that returns at a step that it had already passed has resumed from the row before that step, and pays from
    what the meter showed there.
    """
    total, since, out = 0.0, 0.0, []
    shown: list[tuple[float, float]] = []  # (step, meter) of the rows of this attempt and of those it resumed from
    for row in run.rows:
        step, value = number(row, run.clock), meter(row)
        if step is None or value is None:
            out.append(total)
            continue
        if shown and step <= shown[-1][0]:
            while shown and shown[-1][0] >= step:
                shown.pop()
            since = shown[-1][1] if shown else 0.0
        total += max(0.0, value - since)
        since = value
        shown.append((step, value))
        out.append(total)
    return out


def until(runs: Iterable[Run], metric: str, sign: float, target: float) -> tuple[float, float] | None:
    """Inner-step equivalents and seconds that all trials together had paid when the first reached `target`.

    Tune's clock ticks in seconds: all that was paid within the tick that reaches `target` counts.

    Args:
        runs: The trials.
        metric: Key of the value.
        sign: 1 where small is good, -1 where large is.
        target: Value to reach.
    """
    moments = [t for run in runs for row in run.rows if (t := _reached(row, metric, sign, target)) is not None]
    if not moments:
        return None
    first = min(moments)
    columns = [(run, steps_paid(run), seconds_paid(run)) for run in runs]
    ends = [(_rows_until(run, first), steps, seconds) for run, steps, seconds in columns]
    return sum(s[n - 1] for n, s, _ in ends if n), sum(s[n - 1] for n, _, s in ends if n)


def _reached(row: Row, metric: str, sign: float, target: float) -> float | None:
    value = number(row, metric)
    return number(row, "timestamp") if value is not None and sign * value <= sign * target else None


def _rows_until(run: Run, moment: float) -> int:
    """How many rows of a trial had come by `moment`."""
    return sum((number(row, "timestamp") or 0.0) <= moment for row in run.rows)


def _total(run: Run, meter: Callable[[Row], float | None]) -> float:
    payments = paid(run, meter)
    return payments[-1] if payments else 0.0


def _extra_seconds(row: Row) -> float | None:
    seconds, share = number(row, COST_SECONDS), number(row, COST_SHARE)
    return None if seconds is None or share is None else seconds * share


def _counts(run: Run) -> bool:
    return any(number(row, COST_STEPS) is not None for row in run.rows)
