"""Proposals: sets of decays that a window may consist of, beside a constant."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.koopman.disk import Complex, Disk, damped_disk
from ray_glocal.koopman.dmd import Form, eigenvalue_sets
from ray_glocal.koopman.rank import FixedRank, OptimalRank, Rank
from ray_glocal.koopman.regression import Designs
from ray_glocal.koopman.tuning import (
    CONSTANT_DEVIATION,
    DECAY_DEVIATION,
    DELAY_PART,
    FEWEST_DECOMPOSED,
    GONE,
    LASTING,
    MOST,
    QUICK,
    RANKS,
    SLOW,
    WIDTH,
)

RULES: tuple[Rank, ...] = (*map(FixedRank, RANKS), OptimalRank())
FORMS: tuple[Form, ...] = ("affine", "plain")
_TURN = 1e-9  # angles below it are rounding error


def proposals(values: Array, offset: Array) -> tuple[Complex, Array]:
    """Propose sets of decays: none, one or two of a logarithmic grid, or what Hankel DMD finds.

    A quick and a slow decay together are what the effect of a step size is made of: noise that settles within a few
    steps, and progress that goes on.

    Args:
        values: The window, centred and scaled, shape [time, direction].
        offset: What undoes the centring, shape [direction].

    Returns:
        Eigenvalues inside the unit disk, a conjugate pair in neighbouring columns and filled up with zeros, shape
        [proposal, `MOST`]; and the prior probabilities [proposal], alike for each kind and shared evenly inside it.
    """
    length = len(values)
    decomposed = _decomposed(values, offset)
    kinds = [*_grid(length), decomposed] if len(decomposed) else [*_grid(length)]
    shares = [np.full(len(kind), 1 / (len(kinds) * len(kind))) for kind in kinds]
    return np.concatenate(kinds), np.concatenate(shares)


@lru_cache(maxsize=256)
def _grid(length: int) -> tuple[Complex, Complex, Complex]:
    """No decay, single ones, and pairs of a quick and a slow one."""
    single = [(lasting,) for lasting in LASTING]
    pairs = [(quick, slow) for quick in QUICK for slow in SLOW]
    return _decays([()], length), _decays(single, length), _decays(pairs, length)


def _decays(sets: Sequence[tuple[float, ...]], length: int) -> Complex:
    """Decays to 1/e in as many windows each."""
    found = np.zeros((len(sets), MOST), dtype=np.complex128)
    for row, lasting in enumerate(sets):
        found[row, : len(lasting)] = [math.exp(-1 / (windows * length)) for windows in lasting]
    return found


def _decomposed(values: Array, offset: Array) -> Complex:
    """Decays found by DMD, affine and plain, at two delays and several ranks; shape [proposal, `MOST`]."""
    length, directions = values.shape
    found: list[Complex] = []
    if length >= FEWEST_DECOMPOSED:
        most = max(1, length // DELAY_PART)
        for form in FORMS:
            moving = values if form == "affine" else values + offset
            for delays in sorted({min(2, most), min(-(-WIDTH // directions), most)}):
                found += _tried(moving, delays, form)
    believed = _believed(found, damped_disk(length))
    some: Complex = believed[believed[:, 0] != 0]
    return some


def _tried(moving: Array, delays: int, form: Form) -> list[Complex]:
    try:
        return eigenvalue_sets(moving, RULES, delays, form)
    except np.linalg.LinAlgError:
        return []  # what cannot be decomposed proposes nothing


def _believed(sets: Sequence[Complex], disk: Disk) -> Complex:
    """The slowest modes of each set that fit into `MOST` columns, inside the disk; shape [set, `MOST`]."""
    padded = np.zeros((len(sets), max((len(each) for each in sets), default=0)), dtype=np.complex128)
    for row, each in enumerate(sets):
        padded[row, : len(each)] = each
    # One of each conjugate pair, by falling modulus; ties are broken by the angle, as LAPACK may order them anyhow.
    sizes = np.where((padded.imag >= 0) & (np.abs(padded) > GONE), np.round(np.abs(padded), 12), 0.0)
    slowest = np.take_along_axis(padded, np.lexsort((padded.imag, -sizes)), axis=1)
    sizes = np.take_along_axis(sizes, np.lexsort((padded.imag, -sizes)), axis=1)
    turns = slowest.imag > _TURN * np.abs(slowest)
    widths = np.where(sizes > 0, np.where(turns, 2, 1), 0)
    ends = np.cumsum(widths, axis=1)
    rows, columns = np.nonzero((widths > 0) & (ends <= MOST))
    found = np.zeros((len(sets), MOST), dtype=np.complex128)
    clipped = disk.clip(slowest[rows, columns])
    found[rows, ends[rows, columns] - 1] = clipped.conj()
    found[rows, ends[rows, columns] - widths[rows, columns]] = clipped
    return found


def designs(tried: Complex, length: int, horizon: float) -> Designs:
    """Columns of a constant and of each proposal's decays: real parts of powers, and imaginary ones of a pair's second.

    Between a prior on the amplitudes themselves and one on the change that they make inside the window, which for a
    slow decay is a small part of the amplitude, the root of the change's deviation is the middle.

    Args:
        tried: The proposals, shape [proposal, `MOST`].
        length: Snapshots in the window.
        horizon: Steps ahead of the last one, finite.

    Returns:
        The designs, of `MOST` + 1 columns each.
    """
    there = tried != 0
    moduli, angles = np.abs(tried), np.abs(np.angle(tried))
    phases = np.where(tried.imag < 0, math.pi / 2, 0.0)
    times = np.append(np.arange(float(length)), length - 1 + horizon)[:, None]
    waves = moduli[:, None] ** times * np.cos(angles[:, None] * times - phases[:, None]) * there[:, None]
    change = waves[:, :-1].std(axis=1)
    spread = np.where(there, DECAY_DEVIATION, 0.0) / np.sqrt(np.where(change > 0, change, 1.0))
    columns = np.concatenate([np.ones((len(tried), length + 1, 1)), waves], axis=2)
    deviations = np.concatenate([np.full((len(tried), 1), CONSTANT_DEVIATION), spread], axis=1)
    return Designs(columns[:, :-1], columns[:, -1], deviations)
