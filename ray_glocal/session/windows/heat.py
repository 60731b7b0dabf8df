"""Heat: the share of its loss that a window would lose by an e-fold more of the learning rate, and the rate it affords.

A schedule that anneals takes the noise of a large rate out by its end and keeps the progress made by it, which no
window sees (short-horizon bias, Wu et al. 2018, arXiv:1803.02021). So beneath one the right rate is not where the local
hypergradient vanishes but where it is paid: on networks of several kinds a rate tuned for its schedule stands where a
window's loss, at the mean of its last parameters, has an elasticity of about 0.2, and that grows steeply with the rate.
"""

from dataclasses import replace

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.session.windows.outer import Axes, OuterState, Standing
from ray_glocal.session.windows.tuning import DOWN, HEAT_MEMORY, POWER, UP, WILD


def affordable_heat(heat: float, height: float) -> float:
    """Heat that a rate is worth where the schedule stands at `height`, as a share of its largest factor."""
    return float(heat * height**POWER)


def with_heat(state: OuterState, local: Array, loss: float) -> OuterState:
    """Take over how hot a window was.

    Args:
        state: Memory so far; the first window after a search or a retreat starts it anew.
        local: The window's local hypergradient in coordinates, shape [q].
        loss: Its validation loss.
    """
    if state.searching or not loss > 0:
        return state
    heat = local / loss
    heat = np.where(np.abs(heat) > WILD, np.abs(heat), heat)
    return replace(
        state, heat=np.where(np.isnan(state.heat), heat, HEAT_MEMORY * state.heat + (1 - HEAT_MEMORY) * heat)
    )


def heat_step(state: OuterState, axes: Axes, line: Array, plan: Standing) -> tuple[Array, OuterState]:
    """Move learning rates to where their heat is what the schedule affords.

    Several rates share the target, for each heats a part of the network.

    Args:
        state: Memory after the move.
        axes: Which entries are learning rates.
        line: Coordinates of the present values, shape [q].
        plan: Where training stands.

    Returns:
        Displacement on the line, shape [q], and the memory with the heat that is to be expected after it.
    """
    if state.searching or not plan.follows_heat or not axes.rates.any():
        return np.zeros_like(line), state
    target = plan.heat / np.sum(axes.rates)
    known = axes.rates & np.isfinite(state.heat)
    ratio = np.maximum(np.where(known, state.heat, target), np.exp(-POWER * UP) * target) / target
    step = np.clip(-np.log(ratio) / POWER, -DOWN, UP)
    step = np.where(step > 0, np.clip(state.ceiling - line, 0.0, step), step)
    return step, replace(state, heat=state.heat * np.exp(POWER * step))
