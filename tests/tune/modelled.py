"""Trials as Tune holds and saves them, what a memory has to hold of each, and what its views answer."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from pyarrow.fs import LocalFileSystem
from ray import tune

from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.scheduling.attained import Attained
from ray_glocal.scheduling.proposed import TrialTable
from ray_glocal.scheduling.rungs import Rungs

ENDED = ("TERMINATED", "ERROR")


@dataclass
class Trial:
    """As much of a Tune trial as hooks read and Tune saves."""

    trial_id: str
    config: dict
    local_experiment_path: str
    total: dict  # what it says of its end
    status: str = "PENDING"
    at: int = 0  # iterations
    kept: int = 0  # iterations in its last checkpoint
    told: bool = False  # was answered STOP, and is saving
    results: list = field(default_factory=list)
    storage: SimpleNamespace = field(default_factory=SimpleNamespace)
    error_file: str | None = None

    @property
    def last_result(self):
        return self.results[-1] if self.results else {}

    @property
    def lasting(self):
        """The last results that will not come again; of those before the last Tune keeps the numbers, one by one."""
        losses = sum("val_loss" in result for result in self.results)
        recent = self.results[-10:] if losses == len(self.results) else self.results[-1:]
        behind = math.inf if self.status == "TERMINATED" else self.kept
        return [result for result in recent if result["training_iteration"] <= behind]

    @property
    def metric_n_steps(self):
        names = {name for result in self.results for name in result}
        columns = {name: [r[name] for r in self.results if name in r] for name in names}
        return {name: {"5": column[-5:], "10": column[-10:]} for name, column in columns.items()}

    @property
    def run_metadata(self):
        latest = SimpleNamespace(metrics={"training_iteration": self.kept}) if self.kept else None
        manager = SimpleNamespace(checkpoint_config=tune.CheckpointConfig(), latest_checkpoint_result=latest)
        return SimpleNamespace(checkpoint_manager=manager)

    @property
    def checkpoint(self):
        place = SimpleNamespace(filesystem=LocalFileSystem(), path=self.local_experiment_path)
        return place if self.kept else None


@dataclass
class Known:
    """What the memory has to hold of a trial."""

    running: bool = True
    failed: bool = False
    pruned: bool = False
    diverged: bool = False
    losses: dict = field(default_factory=dict)  # by step, the first told
    answers: dict = field(default_factory=dict)  # by step, the last that was recorded

    @property
    def may_win(self):
        return bool(self.losses) and not (self.failed or self.pruned or self.diverged)


@dataclass(frozen=True)
class Last:
    """Forecasts that a series stays where it is."""

    def forecast(self, series, horizon):
        return Forecast(np.asarray(series[-1]), np.array([0.1]), horizon, Outcome(Kind.OK, "It stays."))


def told(view):
    """All that a view answers."""
    if isinstance(view, TrialTable):
        return view.trials, repr((view.configuration, view.final, view.deviation, view.usable, view.failed))
    assert isinstance(view, Rungs | Attained)
    return vars(view)
