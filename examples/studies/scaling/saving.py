"""What a snapshot of an experiment costs the driver, and what questions to scheduler and searcher cost it."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Added, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.tune import GlocalSearch
from ray_glocal.tune.ledger_file import LedgerFile
from ray_glocal.tune.reading import Reading
from scaling.experiment import OURS, Run
from scaling.report import ADAPTED, SPACE, reported
from study import Row


def spent(action: Callable[[], object]) -> float:
    """Seconds of the processor, this thread's."""
    begin = time.thread_time()
    action()
    return time.thread_time() - begin


def size(folder: Path, pattern: str = "*") -> int:
    """Bytes of the files in a folder, and in the folders in it."""
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


def tunes_own(told: Run, folder: Path) -> Iterator[Row]:
    """Tune's state: as after a restore, when all trials are new to it, and with as many new as there are workers."""
    controller = told.controller
    states = [trial.run_metadata for trial in controller.get_trials()]
    for running in (len(states), min(1000, len(states)), 0):
        for trial, state in zip(controller.get_trials()[:running], states, strict=False):
            state.invalidate_cache()
            controller._mark_trial_to_checkpoint(trial)
        seconds = spent(lambda: _tune_alone(controller))
        held = size(folder, "experiment_state-*.json")
        yield {"what": "Tune's state", "new": running, "seconds": seconds, "bytes": held}


def _tune_alone(controller: Any) -> None:
    """The controller's snapshot, without the searcher's."""
    search = controller._search_alg
    controller._search_alg = _Silent()
    try:
        controller.save_to_dir()
    finally:
        controller._search_alg = search


class _Silent:
    def save_to_dir(self, *_: Any, **__: Any) -> None:
        """Nothing to save."""


def ours(told: Run, folder: Path) -> Iterator[Row]:
    """The ledger: written anew, as each time before, and by the searcher with what is new in it."""
    search, ledger = told.search, told.search.ledger
    anew = folder / "anew"
    seconds = spent(lambda: anew.write_text(journal.write(ledger), encoding="utf-8"))
    yield {"what": "ledger, anew", "new": len(ledger), "seconds": seconds, "bytes": anew.stat().st_size}
    for new in (None, 1000, 0):
        if new:
            ledger.extend(_reports(new))
        seconds = spent(lambda: search.save_to_dir(str(folder), "measured"))
        held = size(folder, "searcher-state-measured*")
        counted = len(ledger) if new is None else new
        yield {"what": "ledger, by the searcher", "new": counted, "seconds": seconds, "bytes": held}
    alone, growing = folder / "alone", LedgerFile(folder / "alone")
    yield {"what": "ledger, its own file", "new": len(ledger), "seconds": spent(lambda: growing.append(ledger))}
    events = list(_reports(1000, begin=1000))
    seconds = spent(lambda: [growing.append(ledger) for event in events if ledger.record(event)])
    yield {"what": "ledger, its own file", "new": len(events), "seconds": seconds, "bytes": size(alone)}
    growing.close()
    again = GlocalSearch(search._own.source, metric="val_loss", mode="min")
    seconds = spent(lambda: again.restore_from_dir(str(folder)))
    yield {"what": "ledger, restored", "new": len(again.ledger), "seconds": seconds}


def _reports(count: int, begin: int = 0) -> Iterator[Reported]:
    hyper = dict.fromkeys(ADAPTED, 0.12345678901234567)
    for number in range(begin, begin + count):
        yield Reported("ffffffff", number, 0.1 / 3, 0.1 / 7, 0.1 / 9, 0.1 / 11, hyper, 56.0 * number)


def remembered(trials: int, reports: int) -> Row:
    """Bytes of a ledger in memory, its views not counted."""
    reading = Reading("val_loss", "min")
    config = {name: domain.sample() for name, domain in SPACE.items()}
    tracemalloc.start()
    begin, _ = tracemalloc.get_traced_memory()
    ledger = Ledger()
    for trial in (f"{number:08x}" for number in range(trials)):
        ledger.record(Added(trial, dict(config), levels=(0, 0, 0, 0), start=dict.fromkeys(ADAPTED, 0.1)))
        for iteration in range(1, reports + 1):
            report = reading.report(trial, reported(config, iteration))
            if report is not None:
                ledger.record(report)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"bytes": size - begin, "new": len(ledger)}


def questions(told: Run, folder: Path) -> Iterator[Row]:
    """What a user or Tune may ask at any time."""
    scheduler, search = told.scheduler, told.search
    table = folder / "decisions.parquet"
    asked: dict[str, Callable[[], object]] = {
        "scheduler.decisions()": scheduler.decisions,
        "scheduler.write_decisions()": lambda: scheduler.write_decisions(table),
        "scheduler.debug_string()": scheduler.debug_string,
        "search.proposals()": search.proposals,
        "search.suggest()": lambda: search.suggest("one more"),
    }
    for name, ask in asked.items():
        row = {"what": name, "seconds": spent(ask)}
        yield row | ({"bytes": table.stat().st_size} if "write" in name else {})


def snapshots(told: Run, kind: str, folder: Path) -> list[Row]:
    """All of it."""
    rows = list(tunes_own(told, folder))
    if kind == OURS:
        fresh = folder / "measured"
        fresh.mkdir()
        rows += [*questions(told, fresh), *ours(told, fresh)]
    return rows
