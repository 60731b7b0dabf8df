"""The ways in which the library differentiates a window; a new one is one more entry of `MODES`."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ray_glocal.hypergradient import Problem, Trajectory, adjoint_trajectory, record_window
from ray_glocal.hypergradient.tape import Tape

MEMORY = 2**36  # bytes that kept graphs may take: what fits is for the measurement to say
Mode = Callable[[Problem, Sequence[Any], Sequence[Any]], Trajectory]


@lru_cache(maxsize=1)
def tape(problem: Problem, length: int) -> Tape:
    """The one that a training would hold: it finds out once whether graphs can be kept."""
    return Tape(problem, length, MEMORY)


def kept(problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Trajectory:
    """Each step's graph is kept from the plain pass, where that changes no bit of it."""
    recorder = tape(problem, len(batches))
    return adjoint_trajectory(problem, record_window(problem, batches, val, problem.start_values(), tape=recorder))


def recomputed(problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Trajectory:
    """Each step is run again when it is differentiated."""
    return adjoint_trajectory(problem, record_window(problem, batches, val, problem.start_values()))


MODES: dict[str, Mode] = {"kept": kept, "recomputed": recomputed}

# How far a mode's hypergradient in float64 may lie from the exact one, relative to its largest entry, where it is
# exact by construction only to rounding.
ROUNDING = 1e-8
TOLERANCES: dict[str, float] = {}
