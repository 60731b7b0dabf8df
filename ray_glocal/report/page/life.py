"""When a trial ran, on which worker, and whom it came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_glocal.report.account import Summary, Trial
from ray_glocal.report.cost import steps_paid
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.page.figures import rounded
from ray_glocal.report.trial import Row, Run, number


@dataclass(frozen=True)
class Stay:
    """A stretch of time that a trial spent on one worker.

    Args:
        worker: The worker: its node's name or address, and the process.
        begin: Seconds since the experiment's first sign of life.
        end: Likewise.
        host: Its node.
    """

    worker: str
    begin: float
    end: float
    host: str


@dataclass(frozen=True)
class Life:
    """A trial from its start to its end.

    Args:
        trial: Tune's trial id.
        rank: 1 for the best.
        status: How it ended, as the report says it.
        configuration: Its configuration, start values included, flat.
        steps: The furthest that it came.
        best: Best finite value of the metric.
        last: The value reported last.
        forecast: The forecast of its end that was made last.
        foretold: The step at which it was made.
        rule: Name of the rule that pruned it.
        reason: The sentence that goes with it.
        ancestor: Trial whose values it started from; None where it had none.
        origin: How our searcher proposed it: "cover", "seed", "explore"; empty where somebody else did.
        proposal: Why, in sentences.
        paid: Inner-step equivalents that it paid.
        seconds: Seconds between its results.
        stays: Where it ran; empty where its results tell no time.
    """

    trial: str
    rank: int
    status: str
    configuration: Mapping[str, Any]
    steps: float
    best: float | None
    last: float | None
    forecast: float | None
    foretold: float | None
    rule: str
    reason: str
    ancestor: str | None
    origin: str
    proposal: str
    paid: float | None
    seconds: float
    stays: tuple[Stay, ...]

    @property
    def begin(self) -> float | None:
        """When it began; None where no result tells."""
        return self.stays[0].begin if self.stays else None

    @property
    def end(self) -> float | None:
        """When its last result came."""
        return self.stays[-1].end if self.stays else None


def lives(experiment: Experiment, summary: Summary) -> tuple[Life, ...]:
    """Every trial, the best first."""
    runs = {run.id: run for run in experiment.runs}
    stays = {run.id: _stays(run.rows) for run in experiment.runs}
    zero = min((each[0].begin for each in stays.values() if each), default=0.0)
    ranked = enumerate(summary.trials, start=1)
    return tuple(
        _life(rank, trial, runs[trial.id], stays[trial.id], zero, experiment.rephrased) for rank, trial in ranked
    )


def _life(
    rank: int, trial: Trial, run: Run, stays: Sequence[Stay], zero: float, rephrased: Callable[[str], str]
) -> Life:
    added = run.record.added if run.record is not None else None
    paid = steps_paid(run)
    return Life(
        trial=trial.id,
        rank=rank,
        status=trial.status,
        configuration={name: _plain(value) for name, value in run.config.items()},
        steps=trial.steps,
        best=trial.best,
        last=_finite(trial.last),
        forecast=_finite(trial.forecast),
        foretold=_finite(trial.foretold),
        rule=trial.rule,
        reason=trial.reason,
        ancestor=added.ancestor if added is not None else None,
        origin=added.origin if added is not None else "",
        proposal=rephrased(added.reason) if added is not None else "",
        paid=rounded(paid[-1]) if paid else None,
        seconds=round(sum(number(row, "time_this_iter_s") or 0.0 for row in run.rows), 3),
        stays=tuple(Stay(s.worker, round(s.begin - zero, 3), round(s.end - zero, 3), s.host) for s in stays),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value)
    return value if isinstance(value, bool | int | str) or value is None else str(value)


def _stays(rows: Sequence[Row]) -> list[Stay]:
    """Stretches of results that came from one worker, in the clock of the rows."""
    out: list[Stay] = []
    for row in rows:
        end = number(row, "timestamp")
        if end is None:
            continue
        begin, (host, worker) = end - (number(row, "time_this_iter_s") or 0.0), _worker(row)
        if out and out[-1].worker == worker:
            begin = out[-1].begin
            out.pop()
        elif out:
            begin = max(begin, out[-1].end)  # a result that was run again: its seconds count from the return
        out.append(Stay(worker, begin, max(begin, end), host))
    return out


def _worker(row: Row) -> tuple[str, str]:
    """Where a result comes from: the node, and the process on it."""
    host, pid = str(row.get("hostname") or row.get("node_ip") or "worker"), row.get("pid")
    return host, host if pid is None else f"{host} {pid}"
