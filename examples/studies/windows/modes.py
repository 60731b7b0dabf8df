"""The ways in which the library differentiates a window; a new one is one more entry of `MODES`."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from ray_glocal.hypergradient import Problem, adjoint_trajectory, record_window
from ray_glocal.hypergradient.window.tape import Tape
from ray_glocal.hypergradient.window.window import Trajectory

PLENTY = 2**36  # bytes that a window may take: what fits is for the measurement to say
Mode = Callable[[Problem, Sequence[Any], Sequence[Any]], Trajectory]


@lru_cache(maxsize=8)
def tape(problem: Problem, length: int, mode: str) -> Tape:
    """The one that a training would hold: it finds out once what can be kept."""
    states = problem.capture().nbytes * length
    room = {"recomputed": states + 1, "few states": 0, "host": states - 1}.get(mode, PLENTY)
    host = PLENTY if mode == "host" else 0
    return Tape(problem, length, room, host, products="differences" if mode == "differences" else "exact")


def differentiate(mode: str, problem: Problem, batches: Sequence[Any], val: Sequence[Any]) -> Trajectory:
    """Record a window by a mode and pull it back."""
    recorder = tape(problem, len(batches), mode)
    window = record_window(problem, batches, val, problem.start_values(), tape=recorder)
    return adjoint_trajectory(problem, window, products=recorder.products)


# `kept`: each step's graph, from the plain pass. `recomputed`: each step is run again when it is differentiated.
# `few states`: and its state is computed again from an earlier one. `differences`: one more gradient a step.
MODES: dict[str, Mode] = {
    name: partial(differentiate, name) for name in ("kept", "recomputed", "few states", "differences")
}

# Beside an accelerator as well: steps are run again from states that lie in page-locked memory of the host.
HOST: dict[str, Mode] = {"host": partial(differentiate, "host")}

# How far a mode's hypergradient in float64 may lie from the exact one, relative to its largest entry, where it is
# exact by construction only to rounding.
ROUNDING = 1e-8
TOLERANCES: dict[str, float] = {"differences": 1e-4}
