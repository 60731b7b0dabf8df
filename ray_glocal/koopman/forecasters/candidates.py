"""The candidates of an ensemble: plain smoothers and decompositions, fitted to one stretch of snapshots."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Array
from ray_glocal.koopman.coordinates import Coordinates, coordinates
from ray_glocal.koopman.disk import Disk, damped_disk
from ray_glocal.koopman.dmd import FORMS, Dynamics, Form, fit_dynamics
from ray_glocal.koopman.extrapolation import clipped
from ray_glocal.koopman.prediction import trajectory
from ray_glocal.koopman.rank import FullRank, OptimalRank, Rank
from ray_glocal.koopman.tuning import DELAY_PART, DIRECTIONS, FEWEST_DECOMPOSED, WIDTH


@dataclass(frozen=True, eq=False)
class Frame:
    """Coordinates shared by every decomposition of one window.

    Args:
        coordinates: Centred and scaled, the strongest directions.
        values: The window in them, shape [time, direction].
        offset: What the plain form adds to undo the centring, shape [direction].
    """

    coordinates: Coordinates
    values: Array
    offset: Array


@dataclass(frozen=True)
class Setting:
    """One decomposition: a form, how many delays, and a rule for its rank."""

    form: Form
    delays: int
    rank: Rank


def framed(series: Array) -> Frame:
    """Choose the coordinates for a window [time, channel]."""
    chosen = coordinates(series, centered=True, most=DIRECTIONS)
    offset = chosen.origin / chosen.scale
    if chosen.directions is not None:
        offset = chosen.directions @ offset
    return Frame(chosen, chosen.enter(series), offset)


def settings(length: int, directions: int) -> tuple[Setting, ...]:
    """Settings to try on a stretch: two delays at full rank, and a vector about twelve wide at optimal rank.

    Full rank suits deterministic windows, optimal rank noisy ones; the average saves the choice.

    Args:
        length: Snapshots in the stretch.
        directions: Directions of the frame.

    Returns:
        The settings; none where the stretch is too short for a decomposition.
    """
    if length < FEWEST_DECOMPOSED:
        return ()
    most = max(1, length // DELAY_PART)
    pairs = ((min(2, most), FullRank()), (min(-(-WIDTH // directions), most), OptimalRank()))
    return tuple(Setting(form, delays, rank) for form in FORMS for delays, rank in pairs)


def candidate_paths(
    series: Array, frame: Frame, stretch: int, tried: tuple[Setting, ...], steps: NDArray[np.float64]
) -> Array:
    """Forecast with every candidate from the first snapshots of a window.

    Args:
        series: The window, shape [time, channel].
        frame: Its coordinates.
        stretch: Snapshots to fit to.
        tried: Decompositions beside the smoothers, in this order.
        steps: Horizons ahead of the stretch's last snapshot, ascending, shape [horizon].

    Returns:
        Shape [candidate, horizon, channel], no further outside the stretch than ten times its range.
    """
    seen = series[:stretch]
    smooth = [np.broadcast_to(value, (len(steps), series.shape[1])) for value in _smoothers(seen)]
    values, disk = frame.values[:stretch], damped_disk(stretch)
    fitted = [_path(values, frame, setting, disk, steps) for setting in tried]
    paths = np.stack(smooth + [frame.coordinates.leave(path) for path in fitted])
    return clipped(paths, seen)


def _smoothers(series: Array) -> list[Array]:
    length = len(series)
    return [series[-1], *(series[start:].mean(axis=0) for start in (3 * length // 4, length // 2, 0))]


def _path(values: Array, frame: Frame, setting: Setting, disk: Disk, steps: NDArray[np.float64]) -> Array:
    """Path of one decomposition in the frame's centred coordinates, shape [horizon, direction]."""
    form = setting.form
    moving = {"plain": values + frame.offset, "affine": values, "increment": values[1:] - values[:-1]}[form]
    start = {"plain": -frame.offset, "affine": 0.0, "increment": values[-1]}[form]
    try:
        fit = fit_dynamics(moving, setting.rank, setting.delays, form)
    except np.linalg.LinAlgError:
        # A form without a stable solution argues for nothing more than the last value.
        return np.repeat(values[-1:], len(steps), axis=0)
    path: Array = start + _continued(fit, form, disk, steps)
    return path


def _continued(fit: Dynamics, form: Form, disk: Disk, steps: NDArray[np.float64]) -> Array:
    # Without a constant to lean on, the plain form must be allowed to keep a steady part for ever.
    eigenvalues = (Disk(1.0, disk.oscillating) if form == "plain" else disk).clip(fit.eigenvalues)
    amplitudes = fit.amplitudes * eigenvalues if form == "increment" else fit.amplitudes
    parts = fit.modes * amplitudes[:, None]
    path = trajectory(fit.ahead, eigenvalues, parts, np.maximum(steps, 1.0), form != "plain")
    if steps[0] >= 1:
        return path
    present = np.zeros_like(fit.present) if form == "increment" else fit.present
    early: Array = np.minimum(steps, 1.0)[:, None]
    return present + early * (path - present)
