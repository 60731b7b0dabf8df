"""The response to a window: gate, restraint and outer step put together."""

from dataclasses import dataclass

import numpy as np
import torch

from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.session.settings import Settings
from ray_glocal.session.windows.gate import Verdicts, judge
from ray_glocal.session.windows.heat import heat_step
from ray_glocal.session.windows.outer import Axes, OuterState, Standing, move, raised_from_cold, restrain, search


@dataclass(frozen=True)
class Ending:
    """Where a window ended, from where its outer step starts.

    Args:
        problem: Its coordinates and bounds.
        values: Of its hyperparameters.
        local: Local hypergradient in coordinates, shape [q].
        loss: Validation loss.
    """

    problem: Problem
    values: Values
    local: Array
    loss: float

    @property
    def promised(self) -> Array:
        """Relative change of the loss within the window per unit of each coordinate, shape [q]."""
        return self.local / self.loss if self.loss > 0 else np.zeros_like(self.local)


@dataclass(frozen=True)
class Response:
    """What a window leads to.

    Args:
        values: To go on with; the very same object where nothing moves.
        outer: Memory after the move.
        verdicts: The gate's answers, restrained.
    """

    values: Values
    outer: OuterState
    verdicts: Verdicts


def respond(end: Ending, outer: OuterState, axes: Axes, plan: Standing, settings: Settings) -> Response:
    """Judge what a window foretold, and move.

    Args:
        end: Where it ended.
        outer: Memory, the window included.
        axes: What the entries are.
        plan: Where training stands.
        settings: Thresholds and trust regions.
    """
    problem, values, promised, searching = end.problem, end.values, end.promised, outer.searching
    band = axes.band(settings, searching=searching)
    verdicts = judge(outer.elasticity, outer.deviation, end.local, settings, band, axes.vectors)
    verdicts = restrain(verdicts, outer, axes, plan)
    line = problem.to_line(values)
    displacement, outer = move(outer, verdicts, axes, promised, settings)
    displacement = raised_from_cold(outer, displacement, axes, line.numpy(), promised, settings)
    more, outer = heat_step(outer, axes, line.numpy(), plan)
    displacement += more
    fresh = problem.to_values(line + torch.from_numpy(displacement)) if displacement.any() else values
    if searching:
        came = (problem.to_line(fresh) - line).numpy()
        outer = search(outer, came, axes, settings)
    return Response(fresh, outer, verdicts)
