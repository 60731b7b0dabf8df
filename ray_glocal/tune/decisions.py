"""Decisions for people: rows in the user's own units, and a parquet file of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_glocal.names import ACTION, DEVIATION, FORECAST, REASON, RULE, STEP, TRIAL
from ray_glocal.scheduling.decision import Decision
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.tune.reading import Reading

SCHEMA = pa.schema(
    [
        (TRIAL, pa.string()),
        (STEP, pa.float64()),
        (ACTION, pa.string()),
        (RULE, pa.string()),
        (REASON, pa.string()),
        (FORECAST, pa.float64()),
        (DEVIATION, pa.float64()),
    ]
)


def rows(ledger: Ledger, reading: Reading) -> list[dict[str, Any]]:
    """One row per decision, oldest first; `forecast` is in the units and the direction of the metric."""
    return [_row(decision, reading) for decision in ledger.decisions]


def write(ledger: Ledger, reading: Reading, path: Path) -> Path:
    """Write all decisions to `path`, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows(ledger, reading), schema=SCHEMA), temporary)
    temporary.replace(path)
    return path


def _row(decision: Decision, reading: Reading) -> dict[str, Any]:
    return {
        TRIAL: decision.trial,
        STEP: float(decision.step),
        ACTION: decision.action.value,
        RULE: decision.rule,
        REASON: reading.rephrased(decision.reason),
        FORECAST: None if decision.mean is None else reading.sign * decision.mean,
        DEVIATION: decision.deviation,
    }
