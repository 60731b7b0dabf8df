"""What users hang onto a training loop: hooks, ties, buffers, counters, generators, clamps, second optimizers.

A wrapper of the model changes it before the optimizer is built; one of the loop changes the finished loop.
"""

from __future__ import annotations

from .around_loops import LOOPS
from .around_models import MODELS

__all__ = ["FOLLOWED", "LOOPS", "MODELS"]


# A session must follow these: neither words nor a refusal is called for.
FOLLOWED = frozenset(
    {
        "tied weights",
        "a buffer that counts",
        "a buffer that is replaced",
        "a counter",
        "a counter of every call",
        "a torch generator",
        "a NumPy generator",
        "a Python generator",
        "an output kept",
        "frozen parameters",
        "forward hooks",
        "a forward pre-hook",
        "a hook that looks",
        "post-accumulate hooks that look",
        "optimizer hooks that count",
        "a loss that writes into its batch",
        "a loss that pops from its batch",
        "a batch that is refilled",
        "a penalty on a list",
        "a penalty in a closure",
        "a loss that counts",
        "a loss that counts by nonlocal",
        "augmentation by a generator",
        "augmentation by NumPy",
        "a loss that keeps its values",
        "a clamp far away",
        "averaged weights beside",
        "evaluation beside",
    }
)
