"""How large an experiment one driver can lead: what keeps it busy, what it writes, and where it falls behind.

Tune's own controller runs experiments of up to ten thousand trials on a virtual clock, its processor seconds counted by
part; a real local Ray says what Ray and Tune's loggers add; snapshots, uploads and checkpoints are measured by
themselves. Processor seconds, for the machine may be shared; `--workers 1` for undisturbed ones.
"""

import platform
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import ray

from scaling import disk, live
from scaling.experiment import BEFORE, CHOICE, CONTROLLER, OURS, PARTS, SCHEDULER, SEARCHER, STOCK, UNLIMITED
from scaling.experiment import run as simulated
from scaling.proposing import proposed
from scaling.report import LENGTH
from scaling.saving import remembered, snapshots
from scaling.text import text
from study import Row, Study, study

TENTHS = 10


class Cell:
    """One measurement."""

    @abstractmethod
    def measure(self) -> Iterable[Row]:
        """Its rows."""


@dataclass(frozen=True)
class Simulated(Cell):
    """An experiment on the virtual clock, and its snapshots."""

    trials: int
    workers: int
    kind: str

    def measure(self) -> Iterator[Row]:
        """Its rows."""
        with tempfile.TemporaryDirectory() as folder:
            told = simulated(self.trials, self.workers, self.kind, Path(folder))
            whole = sum(told.driver.values())
            yield {"what": "driver", "seconds": whole, "results": len(told.steps), "virtual": told.seconds}
            for tenth in range(TENTHS):
                first, last = (len(told.steps) * place // TENTHS for place in (tenth, tenth + 1))
                yield {"what": "result", "tenth": tenth, **_each(told.steps[first:last])}
            yield from snapshots(told, self.kind, Path(folder))


def _each(steps: Sequence[Any]) -> Row:
    """Mean seconds of each part, and the median of their sum."""
    means = {part: sum(step[part] for step in steps) / len(steps) for part in PARTS}
    return means | {"median": median(sum(step.values()) for step in steps)}


@dataclass(frozen=True)
class Remembered(Cell):
    """A ledger in memory."""

    trials: int
    reports: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return [{"what": "memory", **remembered(self.trials, self.reports)}]


@dataclass(frozen=True)
class Proposed(Cell):
    """Proposals of the searcher."""

    threads: int
    trials: int
    told: int
    repeats: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return [{"what": "proposal", **proposed(self.threads, self.trials, self.told, self.repeats)}]


@dataclass(frozen=True)
class Loggers(Cell):
    """Tune's default loggers."""

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return disk.logged()


@dataclass(frozen=True)
class Uploaded(Cell):
    """A snapshot's upload."""

    trials: int
    logging: bool
    files: int
    held: int
    state: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return [{"what": "upload", **disk.uploaded(self.trials, self.files, self.held, self.state)}]


@dataclass(frozen=True)
class Checkpoints(Cell):
    """Checkpoints of a session, each as it is saved."""

    optimizer: str
    hidden: int
    steps: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return ({"what": "checkpoint", **row} for row in disk.checkpoints(self.optimizer, self.hidden, self.steps))


@dataclass(frozen=True)
class Kept(Cell):
    """What of them an experiment keeps."""

    optimizer: str
    hidden: int
    steps: int
    trials: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return [{"what": "kept", **live.kept(self.optimizer, self.hidden, self.steps, self.trials)}]


@dataclass(frozen=True)
class Live(Cell):
    """Results on a real Ray."""

    api: str
    logging: bool
    saves: bool
    actors: int
    results: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        told = live.measured(self.api, self.logging, self.saves, self.actors, self.results)
        return [{"what": "live", **told}]


@dataclass(frozen=True)
class Waited(Cell):
    """Waiting for one result among many."""

    futures: int
    repeats: int

    def measure(self) -> Iterable[Row]:
        """Its rows."""
        return [{"what": "wait", **live.waited(self.futures, self.repeats)}]


def run(cell: Cell) -> list[Row]:
    """Measure it."""
    return [{"part": type(cell).__name__.lower(), **asdict(cell), **row} for row in cell.measure()]  # type: ignore[call-overload]


def cells(smoke: bool) -> list[Cell]:
    """All measurements that depend on no other's rows."""
    sizes, workers = ((40,), 10) if smoke else ((1000, 3000, 10000), 1000)
    results, repeats = (40, 20) if smoke else (400, 200)
    told: list[Cell] = [Simulated(20 if smoke else 100, 2, OURS)]
    told += [Simulated(count, workers, OURS) for count in sizes]
    # Both look through all trials before each result: ten thousand would take them longer than all the rest.
    told += [Simulated(count, workers, STOCK) for count in sizes[:2]]
    told += [Simulated(sizes[0], workers, kind) for kind in (BEFORE, UNLIMITED)]
    told += [Proposed(threads, workers, workers // 5, 5 if smoke else 50) for threads in (1, 2)]
    told += [Remembered(10 if smoke else 1000, LENGTH), Loggers()]
    told += [Waited(futures, repeats) for futures in ((2, 20) if smoke else (2, 100, 300, 1000, 3000))]
    apis = ("class",) if smoke else ("class", "function")
    told += [
        Live(api, logging, saves, 2, results) for api in apis for logging in (True, False) for saves in (True, False)
    ]
    hidden, steps = (64, 200) if smoke else (890, 600)
    told += [Checkpoints(name, hidden, steps) for name in disk.OPTIMIZERS]
    told += [Kept(name, 64 if smoke else 400, steps, 2) for name in (("AdamW",) if smoke else disk.OPTIMIZERS)]
    return told


def uploads(rows: Sequence[Row]) -> list[Cell]:
    """Uploads of the files that the loggers and the simulated experiments have left."""
    logged = [row for row in rows if row["part"] == "loggers"]
    files, held = round(sum(row["files"] for row in logged)), round(sum(row["bytes"] for row in logged))
    told: list[Cell] = []
    ours = [row for row in rows if row["part"] == "simulated" and row["kind"] == OURS]
    for trials in sorted({row["trials"] for row in ours})[1:]:
        own = {row["what"]: row["bytes"] for row in ours if row["trials"] == trials and row["bytes"]}
        state = round(own["Tune's state"] + own["ledger, by the searcher"])
        told += [Uploaded(trials, True, files, held, state), Uploaded(trials, False, 0, 0, state)]
    return told


def machine() -> str:
    """What this was measured with."""
    return f"Measured with Python {platform.python_version()}, Ray {ray.__version__}."


def draw(figure: Any, rows: Sequence[Row]) -> None:
    """Seconds a result over an experiment."""
    told = [row for row in rows if row["what"] == "result" and row["workers"] != 2]
    axes = figure.add_subplot()
    for kind in dict.fromkeys(row["kind"] for row in told):
        for trials in dict.fromkeys(row["trials"] for row in told if row["kind"] == kind):
            own = [row for row in told if (row["kind"], row["trials"]) == (kind, trials)]
            line = [1e3 * sum(row[part] for part in (CONTROLLER, CHOICE, SCHEDULER, SEARCHER)) for row in own]
            axes.plot([10 * row["tenth"] + 5 for row in own], line, marker=".", label=f"{kind}, {trials:,} trials")
    axes.set(xlabel="results so far, %", ylabel="driver, ms a result", ylim=(0, None))
    figure.legend(loc="outside right center", fontsize="small")


def main(asked: Study) -> None:
    rows = asked.rows(cells(asked.smoke), run)
    rows += asked.rows(uploads(rows), run)
    asked.publish(
        "How large an experiment one driver can lead", f"{machine()}\n\n{text(rows)}", rows, partial(draw, rows=rows)
    )


if __name__ == "__main__":
    main(study("scale", __doc__))
