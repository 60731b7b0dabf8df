"""Flow time: inner steps weighted by their learning rates.

A step at a tenth of the rate goes a tenth as far along the gradient flow. Under a schedule, trajectories therefore go
on in flow time, not in steps: in the second half of a cosine schedule less than a fifth of the flow is left.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array


def checked_rates(name: str, rates: ArrayLike) -> Array:
    """Read learning rates, or factors of them, one for each step.

    Raises:
        ArgumentError: Not a list of finite numbers from 0 on, one or more.
    """
    array = np.asarray(rates, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not (np.isfinite(array) & (array >= 0)).all():
        remedy = "Hand a list of learning rates, or of a schedule's factors."
        raise ArgumentError(name, "hold finite numbers from 0 on, one for each step", rates, remedy)
    return array


def checked_flow(name: str, flow: float) -> float:
    """Read a sum of learning rates.

    Raises:
        ArgumentError: Not a finite number from 0 on.
    """
    if not 0 <= flow < np.inf:
        raise ArgumentError(name, "be a finite number from 0 on", flow, "Add up learning rates over steps.")
    return float(flow)


def flow_horizon(rates: ArrayLike, ahead: float) -> float:
    """Steps at a window's mean rate that cover a flow: the horizon to ask a forecaster for.

    Args:
        rates: Learning rates of the window's steps, or factors of them, shape [step]; not all zero.
        ahead: Flow ahead of the last snapshot: the sum of the rates to come, in the same unit.

    Returns:
        The horizon in steps.

    Raises:
        ArgumentError: Rates or a flow that are not finite numbers from 0 on, or only rates of zero.
    """
    passed, flow = checked_rates("rates", rates), checked_flow("ahead", ahead)
    mean = float(passed.mean())
    if mean == 0:
        raise ArgumentError("rates", "not all be zero", rates, "Where nothing moves there is nothing to forecast.")
    return flow / mean


def lag_flow(rates: ArrayLike) -> NDArray[np.float64]:
    """Flow that each row of a lag trajectory covers, counted back from the window's end, shape [step].

    Args:
        rates: Learning rates of the window's steps, oldest first.

    Raises:
        ArgumentError: Rates that are not finite numbers from 0 on.
    """
    covered: NDArray[np.float64] = np.cumsum(checked_rates("rates", rates)[::-1])
    return covered
