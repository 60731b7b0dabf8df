"""What things cost, in plain steps of their own task: the one currency in which every method pays.

Measured once by processor time (`python examples/studies/compare.py --measure`), kept beside this file, and counted
from then on, so that a cell run twice gives the same numbers and no method is charged for a busy machine.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from counted import FIRST
from ray_glocal.session.pacing.cost import PROBE, REPORT, SEARCH, UPKEEP, WINDOW

PLACE = Path(__file__).with_name("prices.json")


@dataclass(frozen=True)
class Prices:
    """Prices of a task, in plain steps.

    Args:
        seconds: Processor time of a plain step.
        report: A pass over the validation part.
        average: Keeping averaged weights, a step of a plain loop.
        upkeep: A session's bookkeeping and averages, a step.
        window: A hypergradient beyond its plain steps, and what it leads to.
        search: The same in the search.
        first_window: The first hypergradient, whose checks are made once.
        first_search: The first one of the search.
        probe: What comes before the first step.
    """

    seconds: float
    report: float
    average: float
    upkeep: float
    window: float
    search: float
    first_window: float
    first_search: float
    probe: float

    def of_session(self) -> dict[str, float]:
        """As a session's counted clock reads them."""
        firsts = {FIRST + SEARCH: self.first_search, FIRST + WINDOW: self.first_window}
        return {
            PROBE: self.probe,
            UPKEEP: self.upkeep,
            REPORT: self.report,
            SEARCH: self.search,
            WINDOW: self.window,
            **firsts,
        }


@cache
def _table() -> dict[str, Prices]:
    return {name: Prices(**told) for name, told in json.loads(PLACE.read_text()).items()} if PLACE.exists() else {}


def prices(task: str) -> Prices:
    """The measured prices of a task.

    Raises:
        KeyError: They were not measured.
    """
    if task not in _table():
        raise KeyError(
            f"The prices of {task} are not known: python examples/studies/compare.py --measure --tasks {task}"
        )
    return _table()[task]


def write(measured: dict[str, Prices]) -> None:
    """Add to the table, or replace in it."""
    known = json.loads(PLACE.read_text()) if PLACE.exists() else {}
    told = known | {name: asdict(found) for name, found in measured.items()}
    PLACE.write_text(json.dumps(dict(sorted(told.items())), indent=1) + "\n")
    _table.cache_clear()
