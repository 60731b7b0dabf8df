"""Plain trainings that were made before: several methods try the same configurations, and each is trained once."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from comparison.plain import PlainTraining, Reading, report_steps
from suites import Task

VERSION = 1  # of plain trainings; a new one trains them anew


class Curve:
    """The readings of one plain training, report by report; what is not there yet is trained, and kept.

    Trainings are the same each time, so reading one back gives every method what it would have got by training; it is
    charged the same, steps and processor seconds.

    Args:
        folder: Where readings are kept, a file a training; None to keep none.
        task: What is trained.
        config: A whole configuration.
        seed: Of weights and orders.
    """

    def __init__(self, folder: Path | None, task: Task, config: Mapping[str, Any], seed: int) -> None:
        self._made = (task, dict(config), seed)
        name = json.dumps([VERSION, task.name, seed, sorted(config.items())])
        self._place = None if folder is None else folder / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.json"
        self._readings = self._read()
        self._live: PlainTraining | None = None

    def __getitem__(self, report: int) -> Reading:
        """The reading at a report, from 0."""
        while report >= len(self._readings):
            self._train()
        return self._readings[report]

    def _train(self) -> None:
        """One report more than is known; where the training itself is not at hand, all of it once more."""
        steps = report_steps(self._made[0].steps)
        if self._live is None:
            self._live, known = PlainTraining(*self._made), len(self._readings)
            for step in steps[:known]:
                self._live.advance(step)
        self._readings.append(self._live.advance(steps[len(self._readings)]))
        self._keep()

    def _read(self) -> list[Reading]:
        if self._place is None or not self._place.exists():
            return []
        return [Reading(*told) for told in json.loads(self._place.read_text())]

    def _keep(self) -> None:
        """Write what is known, unless another process knows more by now."""
        if self._place is None or len(self._read()) >= len(self._readings):
            return
        self._place.parent.mkdir(parents=True, exist_ok=True)
        part = self._place.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps([astuple(reading) for reading in self._readings]))
        part.replace(self._place)
