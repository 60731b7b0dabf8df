"""Proposals: sets of decays that a window may consist of, beside a constant."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Array
from ray_glocal.koopman.disk import Complex, Disk, damped_disk
from ray_glocal.koopman.dmd import Form, eigenvalue_sets
from ray_glocal.koopman.rank import FixedRank, OptimalRank, Rank
from ray_glocal.koopman.regression import Designs

LASTING = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4)  # windows that a single decay of the grid takes to fall to 1/e
MOST = 4  # columns beside the constant; an oscillation takes two
RULES: tuple[Rank, ...] = (FixedRank(1), FixedRank(2), FixedRank(3), OptimalRank())
FORMS: tuple[Form, ...] = ("affine", "plain")
CONSTANT_DEVIATION, DECAY_DEVIATION = 3.0, 2.0  # prior, in deviations of the window
_GONE = math.exp(-3)  # a mode that decays faster has left no trace but in the first snapshots
_WIDTH = 12  # columns of the wider delay vector
_FEWEST = 5  # snapshots that a decomposition needs to be worth a try
_TURN = 1e-9  # angles below it are rounding error

Proposal = Complex  # eigenvalues inside the unit disk, one of each conjugate pair, shape [mode]


def proposals(values: Array, offset: Array) -> tuple[list[Proposal], Array]:
    """Propose sets of decays: none, a single one of a logarithmic grid, or what Hankel DMD finds.

    Args:
        values: The window, centred and of deviation one, shape [time, direction].
        offset: What undoes the centring, shape [direction].

    Returns:
        The proposals, and their prior probabilities: a third for each kind, shared evenly inside it.
    """
    length = len(values)
    grid = [np.array([math.exp(-1 / (lasting * length)) + 0j]) for lasting in LASTING]
    kinds = [[np.zeros(0, dtype=np.complex128)], grid, _decomposed(values, offset)]
    kinds = [kind for kind in kinds if kind]
    shares = [np.full(len(kind), 1 / (len(kinds) * len(kind))) for kind in kinds]
    return [proposal for kind in kinds for proposal in kind], np.concatenate(shares)


def _decomposed(values: Array, offset: Array) -> list[Proposal]:
    """Decays found by DMD, affine and plain, at two delays and several ranks."""
    length, directions = values.shape
    if length < _FEWEST:
        return []
    most, disk = max(1, length // 3), damped_disk(length)
    found = []
    for form in FORMS:
        moving = values if form == "affine" else values + offset
        for delays in sorted({min(2, most), min(-(-_WIDTH // directions), most)}):
            found += [_believed(eigenvalues, disk) for eigenvalues in _tried(moving, delays, form)]
    return [proposal for proposal in found if len(proposal)]


def _tried(moving: Array, delays: int, form: Form) -> Sequence[Complex]:
    try:
        return eigenvalue_sets(moving, RULES, delays, form)
    except np.linalg.LinAlgError:
        return ()  # what cannot be decomposed proposes nothing


def _believed(eigenvalues: Complex, disk: Disk) -> Proposal:
    """The slowest modes within `MOST` columns, inside the disk, and each conjugate pair once."""
    half = eigenvalues[(eigenvalues.imag >= 0) & (np.abs(eigenvalues) > _GONE)]
    slowest = half[np.lexsort((half.imag, -np.round(np.abs(half), 12)))]
    widths = np.cumsum(np.where(_turns(slowest), 2, 1))
    return disk.clip(slowest[widths <= MOST])


def _turns(eigenvalues: Complex) -> NDArray[np.bool_]:
    """Tell which modes turn and need a cosine and a sine."""
    angles = np.abs(np.angle(eigenvalues))
    turns: NDArray[np.bool_] = (angles > _TURN) & (angles < math.pi - _TURN)
    return turns


def designs(tried: Sequence[Proposal], length: int, horizon: float) -> Designs:
    """Columns of a constant and of each proposal's decays.

    Between a prior on the amplitudes themselves and one on the change that they make inside the window, which for a
    slow decay is a small part of the amplitude, the root of the change's deviation is the middle.

    Args:
        tried: The proposals.
        length: Snapshots in the window.
        horizon: Steps ahead of the last one, finite.

    Returns:
        The designs, of `MOST` + 1 columns each.
    """
    moduli, angles, phases = (np.zeros((len(tried), MOST + 1)) for _ in range(3))
    for row, proposal in enumerate(tried):
        twice = np.repeat(proposal, np.where(_turns(proposal), 2, 1))
        columns = slice(1, 1 + len(twice))
        moduli[row, columns], angles[row, columns] = np.abs(twice), np.angle(twice)
        phases[row, 2 : 1 + len(twice)] = np.where(twice[1:] == twice[:-1], math.pi / 2, 0.0)
    moduli[:, 0] = 1.0
    times = np.append(np.arange(float(length)), length - 1 + horizon)[:, None]
    waves = moduli[:, None] ** times * np.cos(angles[:, None] * times - phases[:, None])
    waves *= moduli[:, None] > 0
    inside = waves[:, :-1]
    change = inside.std(axis=1)
    change[:, 0] = 1.0
    scale = np.sqrt(np.where(change > 0, change, 1.0))
    deviations = np.where(moduli > 0, DECAY_DEVIATION, 0.0) / scale
    deviations[:, 0] = CONSTANT_DEVIATION
    return Designs(inside, waves[:, -1], deviations)
