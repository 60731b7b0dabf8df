"""Whether automatic differentiation can be trusted: exact hypergradients against differences of real runs.

Where a loss has kinks (ReLU at high learning rates) or a run amplifies every disturbance (the edge of stability), the
exact derivative exists and foretells nothing about a step of any use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.validation.tuning import EXPLODED, ROUNDING, SIGNS, SIZES


@dataclass(frozen=True)
class Trust:
    """What differences of real runs say about one hyperparameter's exact hypergradient.

    Args:
        verdict: Whether it can be trusted; undecided where its effect drowns in rounding.
        sentence: The same with its reason.
        checks: Windows times step sizes whose differences rise above rounding.
        signs: Share of them in which the signs agree; NaN without checks.
        sizes: Median of |exact - difference| over the larger of the two; NaN without checks.
        elasticity: Largest |exact| over the loss.
    """

    verdict: Literal["trustworthy", "not trustworthy", "undecided"]
    sentence: str
    checks: int
    signs: float
    sizes: float
    elasticity: float


def judge_trust(exact: Array, differences: Array, step_sizes: Sequence[float], losses: Array, rounding: float) -> Trust:
    """Hold exact derivatives against central differences.

    Args:
        exact: By automatic differentiation, shape [window].
        differences: Central differences, shape [window, step size].
        step_sizes: Their half widths.
        losses: Final losses, shape [window].
        rounding: Relative spacing of the precision that the losses are computed in.
    """
    finite = np.isfinite(exact).all() and np.isfinite(differences).all() and np.isfinite(losses).all()
    if not finite:
        return _distrust("the run, or one with a slightly different value, ends in NaN or infinity", 0, *3 * (np.nan,))
    elasticity = float(np.max(np.abs(exact) / np.maximum(np.abs(losses), np.finfo(float).tiny)))
    size = np.maximum(np.abs(exact)[:, None], np.abs(differences))
    apart = 2 * np.array(step_sizes) * size
    clear = apart > ROUNDING * rounding * np.abs(losses)[:, None]
    if not clear.any():
        return Trust("undecided", "undecided: its effect is lost in rounding.", 0, np.nan, np.nan, elasticity)
    agree = (np.sign(differences) == np.sign(exact)[:, None])[clear]
    error = (np.abs(differences - exact[:, None]) / size)[clear]
    found = int(clear.sum()), float(agree.mean()), float(np.median(error)), elasticity
    doubt = _doubt(*found)
    if doubt:
        return _distrust(doubt, *found)
    sentence = f"trustworthy: signs agree in {agree.sum()} of {len(agree)} checks, sizes within {100 * found[2]:.2g} %."
    return Trust("trustworthy", sentence, *found)


def _doubt(checks: int, signs: float, sizes: float, elasticity: float) -> str:
    """What speaks against a hypergradient; empty where nothing does."""
    if elasticity > EXPLODED:
        reason = f"the exact hypergradient explodes, to {elasticity:.2g} times the loss"
        return f"{reason}: training stands at the edge of stability; lower the learning rate"
    remedy = "the loss is too rough; use smooth activations (GELU for ReLU) or a lower learning rate"
    if signs < SIGNS:
        wrong = round((1 - signs) * checks)
        return f"differences of real runs have another sign in {wrong} of {checks} checks: {remedy}"
    if sizes > SIZES:
        return f"differences of real runs have the same sign, but are off by {100 * sizes:.0f} % in size: {remedy}"
    return ""


def _distrust(reason: str, checks: int, signs: float, sizes: float, elasticity: float) -> Trust:
    return Trust("not trustworthy", f"not trustworthy: {reason}.", checks, signs, sizes, elasticity)
