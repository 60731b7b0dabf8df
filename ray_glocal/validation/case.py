"""A case: one recorded window of a training run, beside the truth about how that training ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array

ARRAYS = ("values", "forward", "lag", "earlier", "truths", "final_losses", "directions", "differences", "rates")


@dataclass(frozen=True, eq=False)
class Case:
    """A window at fixed hyperparameter values, and the exact hypergradient at the end of training; in coordinates.

    Args:
        run: Name of the run that the window lies in; the windows of one run are not independent.
        about: What else is known of the run, by name.
        labels: A name for each of the q hyperparameter entries.
        values: Their values throughout the run, shape [q].
        start: Inner steps ahead of the window.
        remaining: Inner steps R from the window's start to the truth, at the end of training.
        forward: Trajectory h_1 .. h_K, shape [K, q]; [0, q] where it was not recorded.
        lag: Trajectory by lag, shape [K, q]; its last row is h_K too.
        earlier: Lag trajectories of earlier windows of the run, oldest first, shape [window, K, q].
        earlier_starts: Where those windows start.
        loss: Validation loss after the window, on the window's few batches.
        truths: h_R for each future, on the whole validation set, shape [future, q]. Futures share the window's
            batches, and each goes on in an order of its own.
        final_losses: Validation loss at the end of each future, shape [future].
        step_sizes: Half widths of the finite differences, in coordinates; may be none.
        directions: What they are differences along, shape [direction, q].
        differences: Central differences of the first future's final loss, shape [step size, direction].
        rates: The schedule's factor on the learning rate at each step of the run up to the truth, averaged over
            parameter groups; empty where there is no schedule.
    """

    run: str
    about: Mapping[str, str]
    labels: tuple[str, ...]
    values: Array
    start: int
    remaining: int
    forward: Array
    lag: Array
    earlier: Array
    earlier_starts: tuple[int, ...]
    loss: float
    truths: Array
    final_losses: Array
    step_sizes: tuple[float, ...] = ()
    directions: Array = field(default_factory=lambda: np.empty((0, 0)))
    differences: Array = field(default_factory=lambda: np.empty((0, 0)))
    rates: Array = field(default_factory=lambda: np.empty(0))

    @property
    def truth(self) -> Array:
        """Mean of h_R over the futures, shape [q]."""
        mean: Array = self.truths.mean(axis=0)
        return mean

    @property
    def horizon(self) -> int:
        """Inner steps from the window's end to the end of training."""
        return self.remaining - len(self.lag)

    @property
    def flow(self) -> Array:
        """The factors of `rates`, ones without a schedule: what each step adds to flow time, shape [step]."""
        return self.rates if self.rates.size else np.ones(self.start + self.remaining)

    def as_row(self) -> dict[str, Any]:
        """The case as plain numbers, text and lists: one row of a table."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}
        return plain | {"about": dict(self.about) or None}  # parquet knows no empty mapping

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Case":
        """Inverse of `as_row`; what else the row holds is left out. Earlier recordings hold the loss in a pair."""
        kept: dict[str, Any] = {f.name: row.get(f.name, ()) for f in fields(cls)}
        kept["loss"] = row["loss"] if "loss" in row else row["losses"][1]
        kept["about"] = {name: text for name, text in (row["about"] or {}).items() if text is not None}
        q, length = len(kept["labels"]), len(kept["lag"])
        empty = {"forward": (0, q), "earlier": (0, length, q), "directions": (0, q), "differences": (0, 0)}
        for name in ARRAYS:
            array = np.array(kept[name], dtype=np.float64)
            kept[name] = array if array.size else array.reshape(empty.get(name, array.shape))
        for name in ("labels", "earlier_starts", "step_sizes"):
            kept[name] = tuple(kept[name])
        return cls(**kept)


def load_cases(folder: str | Path) -> list[Case]:
    """Read every case in the parquet files of a folder, its subfolders included; or of one such file.

    A recording that is still at work may be read at any time: its files appear whole. A case that lies in several
    files is read once.

    Raises:
        ArgumentError: There is no parquet file.
    """
    place = Path(folder)
    files = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    if not files:
        raise ArgumentError("folder", "hold parquet files of cases", str(folder), "Record some first.")
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    once = {(row["run"], row["start"]): row for row in rows if "truths" in row}
    return [Case.from_row(row) for row in once.values()]
