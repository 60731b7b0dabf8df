"""Observations and memories by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ray_glocal.session.first_order.memory import Kinds, Memory
from ray_glocal.session.first_order.observation import Observation


def kinds_of(rates: int, decays: int, others: int, *, logs: bool = False, logits: bool = False) -> Kinds:
    """So many rates first, then decay rates, then the rest, whose scale may be a logarithm or a logit."""
    place = np.arange(rates + decays + others)
    rest = place >= rates + decays
    return Kinds(place < rates, (place >= rates) & ~rest, rest & logs, rest & logits)


KINDS = kinds_of(1, 1, 1)  # lr, momentum, weight_decay


def memory(size: int = 3, *, searching: bool = False, **changed: Any) -> Memory:
    return replace(Memory.start(size, searching=searching), **changed)


def observation(elasticity: Any = (0.0, 0.0, 0.0), **changed: Any) -> Observation:
    """Early under a constant rate; a twentieth of training since the one before."""
    felt = np.array(elasticity, float)
    told: dict[str, Any] = {
        "progress": 0.1,
        "searched": 0.1,
        "elapsed": 1.0,
        "height": 1.0,
        "warms_up": False,
        "annealed": False,
        "loss": 1.0,
        "elasticity": felt,
        "line": np.zeros(len(felt)),
    }
    return Observation(**{**told, **changed})
