"""Exact dynamic mode decomposition in three forms: plain, affine and on increments.

Snapshots are rows. All three fit a linear map between successive delay vectors by the singular value decomposition of
Tu et al. 2014 (arXiv:1312.0041), algorithm 2; they differ in what the map acts on:

- plain: the values. A steady part must show up as an eigenvalue near one.
- affine: the values and a constant observable, which makes an eigenvalue of exactly one part of the model. Solved by
  centring, which is the same fit without penalising the constant (Hirsh et al. 2020, arXiv:1906.05973).
- increment: the differences. A steady part cannot show up at all, and the forecast sums predicted increments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array, Kind, Outcome
from ray_glocal.koopman.coordinates import Coordinates, coordinates
from ray_glocal.koopman.disk import Complex
from ray_glocal.koopman.embedding import delay_embedding
from ray_glocal.koopman.rank import Rank, as_rank, chosen_rank
from ray_glocal.koopman.window import checked_series, judged

Form = Literal["plain", "affine", "increment"]
FORMS: tuple[Form, ...] = get_args(Form)
_TINY = 1e-300  # keeps directions that no rank keeps from dividing by zero
_DEPENDENT = 1e14  # entry of the inverse eigenvectors beyond which amplitudes cancel to nothing but rounding error


@dataclass(frozen=True, eq=False)
class Motion:
    """Reduced snapshots that a fit was made on, kept small so that residuals can wait until they are asked for.

    Args:
        before: Earlier states, shape [pair, mode].
        after: Later states, shape [pair, mode].
        inverse: Maps a state to the coordinates of the modes, shape [mode, mode].
    """

    before: Array
    after: Array
    inverse: Complex

    def residuals(self, eigenvalues: Complex) -> Array:
        """Compare each mode's coordinate psi with its eigenvalue [mode]: ||psi' - lambda psi|| / ||psi||."""
        before, after = self.before @ self.inverse.T, self.after @ self.inverse.T
        unexplained = np.linalg.norm(after - before * eigenvalues, axis=0)
        residuals: Array = unexplained / np.linalg.norm(before, axis=0)
        return residuals


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Reduced linear dynamics in the coordinates of a fit; modes are numbered by falling |eigenvalue|.

    Args:
        eigenvalues: Shape [mode].
        modes: Exact DMD modes of unit length (present block), shape [mode, direction].
        amplitudes: Size of each mode *one step ahead* of the last snapshot, shape [mode]; in the affine form the size
            of the mode's increment from there to the next step. Anchored one step ahead because exact modes of
            eigenvalue near zero say nothing about the present.
        motion: How the modes moved on the data.
        present: Last snapshot, smoothed by projection, shape [direction].
        ahead: Value one step ahead, shape [direction].
        directions: Singular directions that there were to choose from.
    """

    eigenvalues: Complex
    modes: Complex
    amplitudes: Complex
    motion: Motion
    present: Array
    ahead: Array
    directions: int


@dataclass(frozen=True, eq=False)
class DMD:
    """A fitted dynamic mode decomposition, in the units of the channels.

    Args:
        form: What the linear map acts on.
        delays: Snapshots in a delay vector.
        length: Snapshots fitted.
        eigenvalues: Per step, by falling modulus, shape [mode]; as fitted, never clipped. The affine form's built-in
            eigenvalue of exactly one is not among them: `spectrum` lists it.
        modes: Exact DMD modes, shape [mode, channel]; unit length in the scaled coordinates of the fit.
        amplitudes: Size of each mode one step ahead of the last snapshot, shape [mode]; for the affine and increment
            forms the size of its increment from one step ahead to two.
        motion: How the modes moved on the data; `residuals` reads it.
        present: Smoothed last snapshot, shape [channel].
        ahead: Value one step ahead, shape [channel].
        directions: Singular directions that the rank was chosen from.
        outcome: How far to trust the rest. Where it is not usable the arrays are NaN, or have no mode.
    """

    form: Form
    delays: int
    length: int
    eigenvalues: Complex
    modes: Complex
    amplitudes: Complex
    motion: Motion
    present: Array
    ahead: Array
    directions: int
    outcome: Outcome

    @property
    def rank(self) -> int:
        """Modes fitted."""
        return len(self.eigenvalues)

    @property
    def residuals(self) -> Array:
        """Share of each mode's motion on the data that its eigenvalue leaves unexplained, shape [mode]; 0 is exact.

        ||psi(t+1) - lambda psi(t)|| / ||psi(t)|| for the mode's coordinate psi, after residual DMD (Colbrook & Townsend
        2021, arXiv:2111.14889).
        """
        return self.motion.residuals(self.eigenvalues)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Successive delay vectors about their centres, and the decomposition of the earlier ones.

    Args:
        after: Later vectors minus `after_center`, shape [pair, width].
        last: Last delay vector minus `before_center`, shape [width].
        before_center: Zero unless affine, shape [width].
        after_center: Zero unless affine, shape [width].
        left: Left singular vectors of the earlier vectors, shape [pair, direction].
        singular_values: Descending, shape [direction].
        right: Right singular vectors, shape [direction, width].
        block: Columns of the present snapshot.
    """

    after: Array
    last: Array
    before_center: Array
    after_center: Array
    left: Array
    singular_values: Array
    right: Array
    block: slice


def fit_dmd(series: ArrayLike, rank: Rank | int | None = None, delays: int = 1, form: Form = "plain") -> DMD:
    """Fit exact dynamic mode decomposition to a series.

    Every channel is scaled before the joint fit and unscaled afterwards; where channels outnumber snapshots the fit
    takes place in their span. Cost: one QR of [channel, time], one SVD of [time, delays * min(channel, time)].
    Tu et al. 2014 (arXiv:1312.0041), algorithm 2.

    Args:
        series: Snapshots one step apart, oldest first, shape [time, channel].
        rank: A number (modes to keep at most), None for the numerical rank, or a rule: whatever has a
            `choose(singular_values, shape)`, as those of `ray_glocal.koopman.rank`.
        delays: Snapshots stacked into one vector, 1 to time - 2 (time - 3 for increments).
        form: "plain", "affine" or "increment".

    Returns:
        The model, for `spectrum` and `predict`. Its `outcome` is not usable where the series is too short, not finite,
        too large to square, or where no direction rises above noise.

    Raises:
        ArgumentError: `series` is no real [time, channel] array, or `rank`, `delays` or `form` is out of range.
    """
    data = checked_series(series)
    rule = as_rank(rank)
    if form not in FORMS:
        raise ArgumentError("form", f"be one of {', '.join(FORMS)}", form, "Use 'affine' when in doubt.")
    outcome = judged(data)
    if outcome.usable:
        _check_delays(delays, len(data), form)
    return fit_judged(data, rule, delays, form, outcome)


def fit_dynamics(values: Array, rule: Rank, delays: int, form: Form) -> Dynamics:
    """Fit one form in coordinates that are scaled already.

    Args:
        values: Snapshots (for increments: differences of them), shape [time, direction].
        rule: Rule for the number of modes.
        delays: Snapshots stacked into one vector, 1 to time - 1.
        form: As for `fit_dmd`.

    Returns:
        The fit.

    Raises:
        numpy.linalg.LinAlgError: LAPACK did not converge, or the eigenvectors are linearly dependent.
    """
    pairs = _pairs(values, delays, centered=form == "affine")
    shape = (len(pairs.left), len(pairs.last))
    return _dynamics(pairs, chosen_rank(rule, pairs.singular_values, shape), form)


def eigenvalue_sets(values: Array, rules: Sequence[Rank], delays: int, form: Form) -> list[Complex]:
    """Eigenvalues alone, for several ranks of one decomposition.

    Args:
        values: As for `fit_dynamics`.
        rules: Rules for the number of modes.
        delays: Snapshots stacked into one vector, 1 to time - 1.
        form: As for `fit_dmd`.

    Returns:
        A set for each rank that differs and is not zero; in no particular order inside.

    Raises:
        numpy.linalg.LinAlgError: LAPACK did not converge.
    """
    pairs = _pairs(values, delays, centered=form == "affine")
    shape = (len(pairs.left), len(pairs.last))
    ranks = {chosen_rank(rule, pairs.singular_values, shape) for rule in rules} - {0}
    whitened, after = pairs.left / np.maximum(pairs.singular_values, _TINY), pairs.after @ pairs.right.T
    step = after.T @ whitened
    return [np.linalg.eigvals(step[:rank, :rank]).astype(np.complex128) for rank in sorted(ranks)]


def _check_delays(delays: int, time: int, form: Form) -> None:
    most = time - 2 - (form == "increment")
    if not isinstance(delays, Integral) or not 1 <= delays <= most:
        rule = f"be a whole number between 1 and {most} for {time} snapshots"
        raise ArgumentError("delays", rule, delays, "A fit needs two pairs of successive delay vectors.")


def fit_judged(data: Array, rule: Rank, delays: int, form: Form, outcome: Outcome) -> DMD:
    """Fit a series that has been judged already: what `fit_dmd` does once its arguments are read.

    Args:
        data: Snapshots, shape [time, channel].
        rule: Rule for the number of modes.
        delays: In range.
        form: As for `fit_dmd`.
        outcome: How far the series can carry a conclusion.

    Returns:
        The model; without modes where the series is refused or nothing moves.
    """
    if not outcome.usable or outcome.kind is Kind.CONSTANT:
        return _without_modes(data, delays, form, outcome)
    moving = np.diff(data, axis=0) if form == "increment" else data
    frame = coordinates(moving, centered=form == "affine")
    try:
        dynamics = fit_dynamics(frame.enter(moving), rule, delays, form)
    except np.linalg.LinAlgError as error:
        sentence = f"The eigenvalue problem has no stable solution ({error}); use fewer delays or a lower rank."
        return _without_modes(data, delays, form, Outcome(Kind.UNDETERMINED, sentence))
    verdict = _verdict(dynamics, form, outcome.kind)
    if not verdict.usable:
        return _without_modes(data, delays, form, verdict, dynamics.directions)
    return in_channels(dynamics, frame, data, delays, form, verdict)


def in_channels(dynamics: Dynamics, frame: Coordinates, data: Array, delays: int, form: Form, outcome: Outcome) -> DMD:
    """Carry reduced dynamics back to the units of the channels.

    Args:
        dynamics: The fit.
        frame: Coordinates it took place in.
        data: Snapshots fitted, shape [time, channel].
        delays: Delays of the fit.
        form: Form of the fit.
        outcome: How the fit ended.

    Returns:
        The model.
    """
    increments = form == "increment"
    present = data[-1] if increments else frame.leave(dynamics.present)
    ahead = data[-1] + frame.stretch(dynamics.ahead) if increments else frame.leave(dynamics.ahead)
    # The increments one step ahead are already in `ahead`; from there on they continue with one more eigenvalue.
    amplitudes = dynamics.amplitudes * dynamics.eigenvalues if increments else dynamics.amplitudes
    modes: Complex = frame.stretch(dynamics.modes)
    return DMD(
        form, delays, len(data), dynamics.eigenvalues, modes, amplitudes, dynamics.motion, present, ahead,
        dynamics.directions, outcome,
    )  # fmt: skip


def _verdict(dynamics: Dynamics, form: Form, kind: Kind) -> Outcome:
    rank, directions = len(dynamics.eigenvalues), dynamics.directions
    if rank:
        weakness = " from very few snapshots" if kind is Kind.WEAK else ""
        return Outcome(kind, f"{rank} of {directions} directions carry the {form} model{weakness}.")
    if form == "plain":
        sentence = (
            f"None of {directions} directions rises above noise; use the affine form, which falls back to a mean."
        )
        return Outcome(Kind.UNDETERMINED, sentence)
    fallback = "mean of the window" if form == "affine" else "last snapshot"
    return Outcome(Kind.WEAK, f"None of {directions} directions rises above noise; what is left is the {fallback}.")


def _without_modes(data: Array, delays: int, form: Form, outcome: Outcome, directions: int = 0) -> DMD:
    channels = data.shape[1]
    value = data[-1] if outcome.usable else np.full(channels, np.nan)
    nothing = np.zeros(0, dtype=np.complex128)
    modes = np.zeros((0, channels), dtype=np.complex128)
    motion = Motion(np.zeros((0, 0)), np.zeros((0, 0)), np.zeros((0, 0), dtype=np.complex128))
    return DMD(form, delays, len(data), nothing, modes, nothing, motion, value, value, directions, outcome)


def _pairs(values: Array, delays: int, centered: bool) -> Pairs:
    rows = delay_embedding(values, delays)
    before, after = rows[:-1], rows[1:]
    width = rows.shape[1]
    before_center = before.mean(axis=0) if centered else np.zeros(width)
    after_center = after.mean(axis=0) if centered else before_center
    left, singular_values, right = np.linalg.svd(before - before_center, full_matrices=False)
    block = slice(width - values.shape[1], width)
    return Pairs(
        after - after_center, rows[-1] - before_center, before_center, after_center, left, singular_values, right, block
    )


def _dynamics(pairs: Pairs, rank: int, form: Form) -> Dynamics:
    right, block = pairs.right[:rank], pairs.block
    whitened = pairs.left[:, :rank] / pairs.singular_values[:rank]
    after = pairs.after @ right.T
    step = after.T @ whitened
    image = pairs.after[:, block].T @ whitened
    state = right @ pairs.last
    eigenvalues, vectors, inverse = _eigen(step)
    start = state
    if form == "affine":
        start = step @ state + right @ (pairs.after_center - pairs.before_center) - state
    modes, lengths = _unit(vectors.T @ image.T)
    return Dynamics(
        eigenvalues,
        modes,
        (inverse @ start) * lengths,
        Motion(pairs.left[:, :rank] * pairs.singular_values[:rank], after, inverse),
        pairs.before_center[block] + state @ right[:, block],
        pairs.after_center[block] + image @ state,
        len(pairs.singular_values),
    )


def _eigen(step: Array) -> tuple[Complex, Complex, Complex]:
    """Eigenvalues by falling modulus, eigenvectors in columns, and their inverse."""
    raw, vectors = np.linalg.eig(step)
    # Ties (conjugate pairs) are broken by the angle, so that the order never depends on LAPACK.
    order = np.lexsort((-raw.imag, -np.round(np.abs(raw), 12)))
    vectors = vectors[:, order].astype(np.complex128)
    inverse = np.linalg.inv(vectors)
    if not np.abs(inverse).max(initial=0.0) <= _DEPENDENT:  # NaN, too, comes out of Jordan blocks
        raise np.linalg.LinAlgError("eigenvectors are linearly dependent")
    return raw[order].astype(np.complex128), vectors, inverse


def _unit(modes: Complex) -> tuple[Complex, Array]:
    """Modes [mode, direction] of length one, and the lengths they had; a mode of length zero stays."""
    lengths = np.sqrt(np.sum(np.abs(modes) ** 2, axis=1))
    safe: NDArray[np.float64] = np.where(lengths > 0, lengths, 1.0)
    return modes / safe[:, None], safe
