"""How busy a driver is, and where it falls behind, from the measured parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.experiment import CHOICE, CONTROLLER, OURS, PARTS
from study import Row

SNAPSHOT_PERIOD = 10.0  # seconds between Tune's snapshots at least; else 19 times what one takes
SNAPSHOT_FACTOR = 19.0


@dataclass(frozen=True)
class Driver:
    """What a result costs.

    Args:
        result: Seconds of the processor a result, whatever the number of workers.
        worker: Seconds more for each worker whose result is awaited.
        snapshot: Seconds of a snapshot.
    """

    result: float
    worker: float
    snapshot: float

    def each(self, workers: float) -> float:
        """Seconds a result with so many workers."""
        return self.result + self.worker * workers

    @property
    def snapshots(self) -> float:
        """Share of the time that snapshots take, by Tune's own period."""
        return self.snapshot / (self.snapshot + max(SNAPSHOT_PERIOD, SNAPSHOT_FACTOR * self.snapshot))

    def busy(self, workers: float, period: float) -> float:
        """Share of the time that it is busy.

        Args:
            workers: Trials at a time.
            period: Seconds between the reports of a trial.
        """
        return self.snapshots + self.each(workers) * workers / period

    def workers(self, share: float, period: float) -> float:
        """With how many workers it is busy for so large a share of the time: the root of a parabola."""
        left = (share - self.snapshots) * period
        if self.worker <= 0:
            return left / self.result
        return (math.sqrt(self.result**2 + 4 * self.worker * left) - self.result) / (2 * self.worker)


def driver(rows: Sequence[Row], trials: int, *, api: str, logging: bool, saves: bool) -> Driver:
    """The driver of an experiment of so many trials.

    What Ray and the loggers add is what a result takes on a real Ray, less what the same controller takes for it in the
    simulator, where as few trials run.

    Args:
        rows: Of the study.
        trials: Trials of the experiment.
        api: "class" or "function".
        logging: Whether Tune's default loggers are on.
        saves: Whether each report has a checkpoint.
    """
    whole = one(rows, part="simulated", kind=OURS, trials=trials, what="driver")
    few = [row for row in rows if row["part"] == "simulated" and row["workers"] == 2 and row["what"] == "result"]
    controller = sum(row[CONTROLLER] + row[CHOICE] for row in few) / len(few)
    real = one(rows, part="live", api=api, logging=logging, saves=saves, actors=2)["seconds"]
    waits = [(row["futures"], row["seconds"]) for row in rows if row["part"] == "waited"]
    slope = float(np.polyfit(*zip(*waits, strict=True), 1)[0])
    return Driver(
        whole["seconds"] / whole["results"] + real - controller - 2 * slope, max(slope, 0.0), snapshot(rows, trials)
    )


def snapshot(rows: Sequence[Row], trials: int) -> float:
    """Seconds of a snapshot in the middle of an experiment: as many trials and events are new as there are workers."""
    own = [row for row in rows if row["part"] == "simulated" and row["kind"] == OURS and row["trials"] == trials]
    tunes = [row["seconds"] for row in own if row["what"] == "Tune's state"]
    ledger = [row["seconds"] for row in own if row["what"] == "ledger, by the searcher"]
    return float(tunes[1] + ledger[1])


def mean(row: Row) -> float:
    """Seconds a result of all parts."""
    return float(sum(row[part] for part in PARTS))


def one(rows: Sequence[Row], **wanted: Any) -> Row:
    """The row that is as wanted."""
    return next(row for row in rows if all(row.get(name) == value for name, value in wanted.items()))
