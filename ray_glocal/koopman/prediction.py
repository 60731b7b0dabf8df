"""Predictions from a fitted DMD: at a finite horizon, and in the limit."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Array, Kind, Outcome
from ray_glocal.koopman.disk import UNIT_DISK, UNIT_TOLERANCE, Complex, Disk
from ray_glocal.koopman.dmd import DMD
from ray_glocal.koopman.selection import EVERY, Selection
from ray_glocal.koopman.window import checked_horizon

FAR = 1e9  # steps; from here on the limit is meant, and rounding would spoil powers of numbers near one
_CLOSE = 1e-4  # |eigenvalue - 1| below which a geometric sum is computed without cancellation
_NEGLIGIBLE = 1e-9  # share of a channel's value below which a lasting increment is rounding error


@dataclass(frozen=True, eq=False)
class Prediction:
    """Value of a model ahead of its last snapshot.

    Args:
        mean: Shape [channel]; NaN where the outcome is not usable.
        horizon: Steps ahead of the last snapshot.
        capped: Kept modes whose eigenvalue was clipped to the disk.
        outcome: How far to trust the mean.
    """

    mean: Array
    horizon: float
    capped: int
    outcome: Outcome


def predict(model: DMD, horizon: float, disk: Disk = UNIT_DISK, selection: Selection = EVERY) -> Prediction:
    """Predict a model's value a number of steps ahead, or in the limit.

    The plain form answers sum of mode * amplitude * lambda^(horizon - 1), the other two add geometric sums of
    increments to the last value. Eigenvalues are clipped to the disk first: nothing above one is ever raised to a
    power. In the affine and increment forms a mode clipped to one therefore keeps its present *increment*, a straight
    line, which has no limit. Between the last snapshot and one step ahead the value is interpolated.

    In the limit an oscillation that does not decay has none either: its mean stands in, and the sentence says so.

    Args:
        model: The fit.
        horizon: Steps ahead of the last snapshot, 0 to math.inf; 0 is the smoothed present value.
        disk: Largest moduli to believe; one unless told otherwise.
        selection: Modes to keep; all unless told otherwise.

    Returns:
        The prediction, `mean` and `outcome`, and in `capped` how many modes were clipped; undetermined where no mode is
        kept or the value grows without limit.

    Raises:
        ArgumentError: `horizon` negative or not a number.
    """
    steps = checked_horizon(horizon)
    if not model.outcome.usable or model.rank == 0:
        return Prediction(model.ahead, steps, 0, model.outcome)
    kept = selection.keep(model.eigenvalues)
    if not kept.any() and model.form == "plain":
        sentence = f"None of {model.rank} modes is kept; nothing is left to predict from."
        return _undetermined(model, steps, 0, sentence)
    eigenvalues = disk.clip(model.eigenvalues[kept])
    capped = int(np.count_nonzero(disk.outside(model.eigenvalues[kept])))
    parts = model.modes[kept] * model.amplitudes[kept, None]
    if steps >= FAR:
        return _limit(model, steps, capped, eigenvalues, parts)
    weights = _weights(model, eigenvalues, np.array([max(steps - 1, 0.0)]))[0]
    mean = _base(model) + (weights @ parts).real
    if steps < 1:
        mean = model.present + steps * (mean - model.present)
    return Prediction(mean, steps, capped, _capping(model.outcome, capped))


def trajectory(
    ahead: Array, eigenvalues: Complex, parts: Complex, steps: NDArray[np.float64], increments: bool
) -> Array:
    """Values of reduced dynamics at several horizons at once.

    Args:
        ahead: Value one step ahead, shape [direction]; used where `increments`.
        eigenvalues: Inside the closed unit disk, shape [mode].
        parts: Modes times amplitudes one step ahead, shape [mode, direction].
        steps: Horizons, 1 and above, shape [horizon].
        increments: Whether the parts are increments that add up, or values.

    Returns:
        Shape [horizon, direction].
    """
    if increments:
        summed: Array = ahead + (geometric_sum(eigenvalues, steps - 1) @ parts).real
        return summed
    values: Array = (eigenvalues ** (steps[:, None] - 1) @ parts).real
    return values


def geometric_sum(eigenvalues: Complex, steps: NDArray[np.float64]) -> Complex:
    """Sum 1 + lambda + ... + lambda^(steps - 1), continued to real steps, exact near lambda = 1.

    Args:
        eigenvalues: Inside the closed unit disk, shape [mode].
        steps: Numbers of terms, 0 and above, finite, shape [horizon].

    Returns:
        (lambda^steps - 1) / (lambda - 1), or `steps` where lambda is one; shape [horizon, mode].
    """
    gap = eigenvalues - 1
    terms = steps[:, None]
    close = np.abs(gap) < _CLOSE
    if not close.any():
        sums: Complex = (eigenvalues**terms - 1) / gap
        return sums
    one = gap == 0
    safe_gap = np.where(one, 1.0, gap)
    near = np.expm1(terms * np.log1p(np.where(close, gap, 0.0))) / safe_gap
    far = (np.where(close, 0.0, eigenvalues) ** terms - 1) / safe_gap
    return np.where(one, terms, np.where(close, near, far))


def steady_part(model: DMD, selection: Selection) -> Prediction:
    """Sum of the kept modes, each taken to last for ever: the paper's estimate of the end of training.

    Args:
        model: A plain fit.
        selection: Modes to keep.

    Returns:
        The prediction at infinity; undetermined where no mode is kept.
    """
    kept = selection.keep(model.eigenvalues)
    if not model.outcome.usable or (model.rank == 0):
        return Prediction(model.ahead, math.inf, 0, model.outcome)
    if not kept.any():
        nearest = model.eigenvalues[np.argmin(np.abs(model.eigenvalues - 1))]
        sentence = (
            f"No eigenvalue is near enough to one, the nearest is {nearest:.3g}; raise the tolerance or observe more."
        )
        return _undetermined(model, math.inf, 0, sentence)
    mean = (model.amplitudes[kept] @ model.modes[kept]).real
    capped = int(np.count_nonzero(UNIT_DISK.outside(model.eigenvalues[kept])))
    return Prediction(mean, math.inf, capped, _capping(model.outcome, capped))


def _base(model: DMD) -> Array:
    return np.zeros_like(model.ahead) if model.form == "plain" else model.ahead


def _weights(model: DMD, eigenvalues: Complex, steps: NDArray[np.float64]) -> Complex:
    """Factor of every part `steps` after one step ahead, shape [horizon, mode]."""
    if model.form == "plain":
        powers: Complex = eigenvalues ** steps[:, None]
        return powers
    return geometric_sum(eigenvalues, steps)


def _limit(model: DMD, steps: float, capped: int, eigenvalues: Complex, parts: Complex) -> Prediction:
    lasting = np.abs(eigenvalues) >= 1 - UNIT_TOLERANCE
    steady = np.abs(eigenvalues - 1) <= UNIT_TOLERANCE
    if model.form == "plain":
        weights = steady.astype(np.complex128)
    else:
        if _grows(model, parts[steady]):
            sentence = (
                "An eigenvalue of one drives the increments: the value grows without limit; ask a finite horizon."
            )
            return _undetermined(model, steps, capped, sentence)
        weights = np.where(steady, 0.0, 1 / np.where(steady, 1.0, 1 - eigenvalues))
    outcome = _capping(model.outcome, capped)
    oscillations = int(np.count_nonzero(lasting & ~steady))
    if oscillations:
        note = f" {oscillations} modes oscillate for ever and have no limit; their mean stands in for them."
        outcome = Outcome(outcome.kind, outcome.sentence + note)
    return Prediction(_base(model) + (weights @ parts).real, steps, capped, outcome)


def _grows(model: DMD, increments: Complex) -> bool:
    return bool(np.any(np.abs(increments.sum(axis=0)) > _NEGLIGIBLE * np.abs(model.ahead)))


def _capping(outcome: Outcome, capped: int) -> Outcome:
    if not capped:
        return outcome
    return Outcome(outcome.kind, f"{outcome.sentence} {capped} modes grow faster than believed and were capped.")


def _undetermined(model: DMD, steps: float, capped: int, sentence: str) -> Prediction:
    return Prediction(np.full_like(model.ahead, np.nan), steps, capped, Outcome(Kind.UNDETERMINED, sentence))
