"""The spectrum of a window: how the modes of its hypergradients decay and turn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ray_glocal.forecast import Array
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.forecasters.affine import Affine
from ray_glocal.names import STEP, TRAJECTORY
from ray_glocal.report.page.chart import ACCENT, FAINT, MUTED, WARM, Chart, Option, Section, axis, line, points
from ray_glocal.report.page.figures import counted, rounded, thinned
from ray_glocal.report.page.life import Life

TRIALS, WINDOWS = 12, 30  # that are decomposed: the best trials, and of each windows evenly spread
_CIRCLE = 120  # points
_FIT = "affine"


@dataclass(frozen=True)
class Modes:
    """The modes of one window, by an affine decomposition of its local hypergradients over all hyperparameters.

    Args:
        trial: Tune's trial id.
        step: Inner steps taken at the window's end.
        real: Real part of each eigenvalue, the factor from a step to the next.
        imaginary: Imaginary part.
        size: Largest contribution to any hypergradient one step ahead, relative to the largest of all modes.
        steady: Whether the mode is the steady part, which the fit has built in.
        reason: Why it is kept or dropped.
    """

    trial: str
    step: float
    real: tuple[float | None, ...]
    imaginary: tuple[float | None, ...]
    size: tuple[float | None, ...]
    steady: tuple[bool, ...]
    reason: tuple[str, ...]


def spectra(lives: Sequence[Life], traces: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Modes, ...]:
    """The modes of windows of the best trials that have any."""
    seen = ((life.trial, _windows(traces.get(life.trial, ()))) for life in lives)
    out: list[Modes] = []
    for trial, windows in islice(((trial, windows) for trial, windows in seen if windows), TRIALS):
        steps = list(windows)
        found = [_modes(trial, steps[i], windows[steps[i]]) for i in thinned(len(steps), WINDOWS)]
        out += [modes for modes in found if modes is not None]
    return tuple(out)


def _windows(rows: Sequence[Mapping[str, Any]]) -> dict[float, Array]:
    """Local hypergradients [time, hyperparameter] of each window, by the step of its end."""
    found: dict[float, list[Sequence[float]]] = {}
    for row in rows:
        if row.get(TRAJECTORY):
            found.setdefault(row[STEP], []).append(row[TRAJECTORY])
    series = {step: np.array(columns, dtype=np.float64).T for step, columns in found.items() if _even(columns)}
    return {step: window for step, window in series.items() if np.isfinite(window).all()}


def _even(columns: Sequence[Sequence[float]]) -> bool:
    return len({len(column) for column in columns}) == 1


def _modes(trial: str, step: float, series: Array) -> Modes | None:
    fit = forecaster(_FIT)
    assert isinstance(fit, Affine)
    fitted = fit.spectrum(series)
    if not fitted.modes:
        return None
    largest = max((mode.size for mode in fitted.modes if math.isfinite(mode.size)), default=0.0) or 1.0
    return Modes(
        trial,
        step,
        tuple(rounded(mode.eigenvalue.real) for mode in fitted.modes),
        tuple(rounded(mode.eigenvalue.imag) for mode in fitted.modes),
        tuple(rounded(mode.size / largest) for mode in fitted.modes),
        tuple(math.isnan(mode.residual) for mode in fitted.modes),
        tuple(mode.reason for mode in fitted.modes),
    )


def section(found: Sequence[Modes]) -> Section:
    """A window's eigenvalues on the unit circle."""
    if not found:
        text = (
            "No trial recorded windows, so there is no spectrum. First-order sessions, the default, need none; "
            'Settings(hypergradients="windows") records them.'
        )
        return Section("spectrum", "Spectrum", "No window was recorded", (text,))
    slow = sum(any(_modulus(modes, i) > 0.9 for i, steady in enumerate(modes.steady) if not steady) for modes in found)
    title = f"{slow:,} of {counted(len(found), 'window')} held a mode that lasts longer than ten steps"
    return Section("spectrum", "Spectrum", title, charts=(_chart(found),))


def _modulus(modes: Modes, index: int) -> float:
    return math.hypot(modes.real[index] or 0.0, modes.imaginary[index] or 0.0)


def _chart(found: Sequence[Modes]) -> Chart:
    angles = [2 * math.pi * i / _CIRCLE for i in range(_CIRCLE + 1)]
    circle = {"x": [round(math.cos(a), 4) for a in angles], "y": [round(math.sin(a), 4) for a in angles]}
    hover = "%{x:.3f} %{y:+.3f}i<br>%{text}<extra></extra>"
    traces = (
        line(FAINT, 1.5, name="unit circle", hoverinfo="skip", **circle),
        points(ACCENT, name="fitted mode", hovertemplate=hover),
        points(WARM, 10, "diamond", name="steady part", hovertemplate=hover),
        line(MUTED, 0.5, name="axis", x=[-1, 1], y=[0, 0], hoverinfo="skip", showlegend=False),
    )
    layout = {
        "xaxis": axis("real part", range=[-1.25, 1.25], constrain="domain"),
        "yaxis": axis("imaginary part", range=[-1.25, 1.25], scaleanchor="x", constrain="domain"),
        "hovermode": "closest",
    }
    choices: dict[str, dict[str, Option]] = {}
    for modes in found:
        choices.setdefault(modes.trial, {})[f"step {modes.step:g}"] = _choice(modes)
    caption = "Eigenvalues of a window's hypergradients: inside the circle a mode decays, on it it lasts."
    return Chart("spectrum-chart", caption, traces, layout, 440, ("trial", "window"), choices)


def _choice(modes: Modes) -> Option:
    places: dict[bool, list[int]] = {False: [], True: []}
    for i, built_in in enumerate(modes.steady):
        places[built_in].append(i)
    fitted, steady = _marks(modes, places[False]), _marks(modes, places[True])
    largest = max((_modulus(modes, i) for i in places[False]), default=None)
    caption = (
        f"Trial {modes.trial}, window that ends at step {modes.step:g}: {counted(len(places[False]), 'fitted mode')}"
    )
    caption += (
        f", the slowest with a modulus of {largest:.3f}." if largest is not None else ", for nothing moved clearly."
    )
    caption += " Larger marks weigh more. The decomposition is the affine one; sessions weigh several of its kind."
    return Option(caption, ({}, fitted, steady, {}))


def _marks(modes: Modes, places: Sequence[int]) -> dict[str, Any]:
    return {
        "x": [modes.real[i] for i in places],
        "y": [modes.imaginary[i] for i in places],
        "text": [modes.reason[i] for i in places],
        "marker": {"size": [round(8 + 12 * math.sqrt(modes.size[i] or 0.0), 1) for i in places]},
    }
