"""The spectrum of a fit as a table: what each mode is, and why it is kept or dropped."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_glocal.forecast import Outcome
from ray_glocal.koopman.disk import UNIT_DISK, UNIT_TOLERANCE, Complex, Disk
from ray_glocal.koopman.dmd import DMD
from ray_glocal.koopman.selection import EVERY, Selection

_HEADER = ("eigenvalue", "modulus", "period", "size", "residual", "kept", "capped", "why")


@dataclass(frozen=True, eq=False)
class Mode:
    """One row of a spectrum.

    Args:
        eigenvalue: Factor per step, as fitted.
        mode: Direction in channel space, shape [channel].
        amplitude: Factor of the mode one step ahead of the last snapshot. In the affine and increment forms the mode's
            increment from there on has this size.
        residual: Share of the mode's motion on the data that its eigenvalue leaves unexplained; 0 is exact.
        kept: Whether a prediction uses it.
        reason: One sentence that says why.
        capped: Whether a prediction clips its eigenvalue.
    """

    eigenvalue: complex
    mode: Complex
    amplitude: complex
    residual: float
    kept: bool
    reason: str
    capped: bool

    @property
    def size(self) -> float:
        """Largest contribution to any channel, in that channel's units."""
        return float(np.max(np.abs(self.amplitude * self.mode)))

    @property
    def period(self) -> float:
        """Steps per turn of an oscillation; infinite where there is none."""
        angle = abs(np.angle(self.eigenvalue))
        return float(2 * np.pi / angle) if angle else float("inf")


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The modes of a fit; `str()` renders it as plain text.

    Args:
        modes: Rows; the affine form's built-in steady mode first, then by falling modulus.
        directions: Singular directions that the rank was chosen from.
        outcome: How the fit ended.
    """

    modes: tuple[Mode, ...]
    directions: int
    outcome: Outcome

    @property
    def capped(self) -> int:
        """Kept modes that a prediction clips."""
        return sum(mode.kept and mode.capped for mode in self.modes)

    def __str__(self) -> str:
        rows = [_HEADER, *(_cells(mode) for mode in self.modes)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        fitted = sum(mode.residual == mode.residual for mode in self.modes)
        title = f"Spectrum: {fitted} modes of {self.directions} directions. {self.outcome.sentence}"
        return "\n".join([title, *(line.rstrip() for line in lines)])


def spectrum(model: DMD, disk: Disk = UNIT_DISK, selection: Selection = EVERY) -> Spectrum:
    """Tabulate the modes of a fit as a prediction with the same disk and selection treats them.

    Args:
        model: The fit.
        disk: Largest moduli to believe; one unless told otherwise.
        selection: Modes to keep; all unless told otherwise.

    Returns:
        The table, `str` prints it, and `modes` are its rows; the affine form lists its built-in steady mode, whose
        residual is NaN because it is not fitted.
    """
    kept, capped = selection.keep(model.eigenvalues), disk.outside(model.eigenvalues)
    residuals = model.residuals
    fitted = []
    for index in range(model.rank):
        reason = _reason(complex(model.eigenvalues[index]), bool(kept[index]), bool(capped[index]), selection)
        fitted.append(_mode(model, index, float(residuals[index]), bool(kept[index]), reason, bool(capped[index])))
    steady = [_steady(model, kept)] if model.form == "affine" and model.outcome.usable else []
    return Spectrum((*steady, *fitted), model.directions, model.outcome)


def _mode(model: DMD, index: int, residual: float, kept: bool, reason: str, capped: bool) -> Mode:
    eigenvalue, amplitude = complex(model.eigenvalues[index]), complex(model.amplitudes[index])
    return Mode(eigenvalue, model.modes[index], amplitude, residual, kept, reason, capped)


def _reason(eigenvalue: complex, kept: bool, capped: bool, selection: Selection) -> str:
    reason = selection.reason(eigenvalue)
    if not (kept and capped):
        return reason
    return f"{reason} Capped: a modulus of {abs(eigenvalue):.4g} is more than a forecast may believe."


def _steady(model: DMD, kept: NDArray[np.bool_]) -> Mode:
    """The mode of the constant observable: what is left when every other mode has decayed."""
    gap = 1 - model.eigenvalues
    trend = np.abs(gap) <= UNIT_TOLERANCE
    decaying = kept & ~trend
    value = model.ahead + ((model.amplitudes[decaying] / gap[decaying]) @ model.modes[decaying]).real
    reason = "Kept: the steady part, built in by the constant observable."
    if (trend & kept).any():
        reason += " It is not unique: a fitted eigenvalue of one adds a straight line to it."
    return Mode(1 + 0j, value.astype(np.complex128), 1 + 0j, float("nan"), True, reason, False)


def _cells(mode: Mode) -> tuple[str, ...]:
    value = mode.eigenvalue
    number = f"{value.real:.6f}{value.imag:+.6f}i" if value.imag else f"{value.real:.6f}"
    residual = "built in" if np.isnan(mode.residual) else f"{mode.residual:.2g}"
    period = f"{mode.period:.3g}" if np.isfinite(mode.period) else "none"
    answers = ("yes" if mode.kept else "no", "yes" if mode.capped else "no")
    return (number, f"{abs(value):.6f}", period, f"{mode.size:.3g}", residual, *answers, mode.reason)
