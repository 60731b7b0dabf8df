"""Local, glocal and global hypergradients on noisy quadratics, beside the truth in closed form.

A window of 40 inner steps is differentiated. Its local hypergradient, the glocal one of every forecaster and the exact
hypergradient of a run on other minibatches are compared with the derivative of the expected validation loss after R
steps.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from extrapolation import COMPARED, estimator
from noisy_quadratic import BOWLS, NAMES, Array, NoisyQuadratic
from ray_glocal.hypergradient import (
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from study import Row, Study, markdown, study

WINDOW = 40
REACH = (1, 3, 10, 30, 100)  # horizons R in windows
ENGINE_REACH = 10  # up to here the engine's exact hypergradient is checked against the closed form
NOISES = (0.0, 0.1, 1.0)
BEFORE = (0, 400)  # plain steps ahead of the window
FIRST_SEED = 100
FLOOR = 0.01  # a truth smaller than this share of the window's largest local value counts as that large
GLOBAL = "one future"
LOWEST, HIGHEST = 1e-3, 50.0  # errors that the figure tells apart
ENGINES = {"forward": forward_trajectory, "lag": adjoint_trajectory}
DRAWN = ("last", "mean", "paper", "affine", "ensemble", "evidence", GLOBAL)

FOUND = """**Found.**

- *Exact, and unlike the local value.* The engines agree with the closed form to rounding. At R = one window the local
  value is the truth; three windows on it is off by half the truth to twice, and by more for lr and momentum, whose
  hypergradients fade while that of weight decay stays.
- *Without noise, once the first transient is over*, forecasts pay where the motion is simple: in the calm bowl the
  ensemble is off by 1 % ten windows ahead, where the local value overstates what fades fifty-fold (in units of the
  floor). With momentum .9, or twenty curvatures over three decades, 40 snapshots hold too little: the ensemble is the
  best of a poor lot, and beyond 30 windows no one is good.
- *At the very start of training no forecaster is of use*: local, glocal and smoothed values are off by several times
  the truth beyond one window, at 60 to 75 % right signs.
- *Under noise nothing beats the plain mean of the window's second half*: at noise 1, ten windows ahead, error .53 and
  88 % right signs, against .98 and 77 % for the local value, .71 and 82 % for the ensemble, 1.3 and 77 % for affine
  DMD. It even beats the exact hypergradient of one future (.86, 75 %), for which ten windows are differentiated: with
  noise of this size a global hypergradient is mostly about its own minibatches.
- *The paper's rule* abstains in four windows of five.
- *Lag trajectories are worse to forecast from.* All their entries share the window's end and so its noise: their means
  are no better than the local value (.91, 77 % at noise 1), and their DMD extrapolations are worse, noise or not."""


@dataclass(frozen=True)
class Cell:
    """One bowl at one noise level, and the horizons to ask."""

    bowl: str
    noise: float
    seed: int
    reach: tuple[int, ...]


def run(cell: Cell) -> list[Row]:
    """Trajectories and truth of one bowl, for a window at the start and a later one; the forecasts come at the end."""
    return [_window(cell, before) for before in BEFORE]


def _window(cell: Cell, before: int) -> Row:
    bowl = NoisyQuadratic(BOWLS[cell.bowl], cell.noise, cell.seed)
    noise = bowl.batches(before + WINDOW)
    past, told = noise[:before], noise[before:]
    problem = bowl.problem()
    values = problem.start_values()
    for batch in past:
        problem.advance(batch, values)
    ends = [reach * WINDOW for reach in cell.reach]
    future = told + bowl.batches(max(ends) - WINDOW, future=1)
    exact = bowl.realised(future, ends, past)
    gap = _engine_gap(problem, future, ends, exact)
    window = record_window(problem, told, [None], values)
    series = {
        kind: problem.pull_back(values, engine(problem, window).derivatives).tolist()
        for kind, engine in ENGINES.items()
    }
    asked = {"bowl": cell.bowl, "noise": cell.noise, "seed": cell.seed, "before": before, "ends": ends}
    return {**asked, **series, "truth": bowl.expected(told, ends, past).tolist(), "exact": exact.tolist(), "gap": gap}


def _engine_gap(problem: Problem, batches: Sequence[Any], ends: Sequence[int], exact: Array) -> float:
    """Largest relative difference between the engine's exact hypergradient and the closed form."""
    index = max(i for i, end in enumerate(ends) if end <= ENGINE_REACH * WINDOW)
    values = problem.start_values()
    found = global_hypergradient(problem, batches[: ends[index]], [None], values).derivatives[-1]
    return float(np.abs(problem.pull_back(values, found).numpy() - exact[index]).max() / np.abs(exact[index]).max())


# ---- estimates ----


def estimates(windows: Iterable[Row]) -> list[Row]:
    """One row for each window, horizon, trajectory, estimator and hyperparameter."""
    return [row for window in windows for i in range(len(window["ends"])) for row in _estimates(window, i)]


def _estimates(window: Row, index: int) -> Iterable[Row]:
    end, truth = window["ends"][index], np.array(window["truth"][index])
    asked = {key: window[key] for key in ("bowl", "noise", "seed", "before")} | {"reach": end // WINDOW}
    size = np.maximum(np.abs(truth), FLOOR * np.abs(window["forward"]).max(axis=0))
    for kind in ENGINES:
        for name in COMPARED:
            found = estimator(name).forecast(np.array(window[kind]), end - WINDOW).mean
            yield from _judged({**asked, "kind": kind, "estimator": name}, found, truth, size)
    yield from _judged({**asked, "kind": "exact", "estimator": GLOBAL}, np.array(window["exact"][index]), truth, size)


def _judged(asked: Row, found: Array, truth: Array, size: Array) -> Iterable[Row]:
    """Relative error (infinite without an answer) and whether the sign is right (None where the truth has none)."""
    for i, name in enumerate(NAMES):
        answered, has_sign = math.isfinite(found[i]), abs(truth[i]) >= size[i]
        error = abs(found[i] - truth[i]) / size[i] if answered else math.inf
        judged = {"error": float(error), "right": bool(found[i] * truth[i] > 0) if has_sign else None}
        yield {**asked, "hyper": name, "estimate": float(found[i]), "truth": float(truth[i]), **judged}


# ---- the page ----


def chosen(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def median_error(rows: Sequence[Row]) -> float:
    """Median relative error, where no answer is an infinite one."""
    return median(row["error"] for row in rows)


def summary(rows: Sequence[Row]) -> str:
    """Median relative error and share of right signs."""
    told, signs = median_error(rows), [row["right"] for row in rows if row["right"] is not None]
    size = "none" if math.isinf(told) else "0" if told < 1e-9 else f"{told:.2g}"
    return f"{size} / {sum(signs) / len(signs):.0%}" if signs else size


def grouped(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values of `keys`."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def condensed(rows: Sequence[Row]) -> list[Row]:
    """Medians over bowls, for the page's store."""
    keys = ("bowl", "noise", "before", "reach", "kind", "estimator", "hyper")
    lines = []
    for key, group in grouped(rows, keys).items():
        signs = [row["right"] for row in group if row["right"] is not None]
        told = {"error": median_error(group), "right": sum(signs), "signs": len(signs), "bowls": len(group)}
        lines.append({**dict(zip(keys, key, strict=True)), **told})
    return lines


def table(rows: Sequence[Row], *keys: str) -> str:
    """Estimators against the combinations of `keys` that occur."""
    names = [*COMPARED, GLOBAL]
    groups = sorted(grouped(rows, keys).items())
    lines = [[*key, *(summary(chosen(group, estimator=name)) for name in names)] for key, group in groups]
    return markdown([*keys, *("local" if name == "last" else name for name in names)], lines)


def text(rows: Sequence[Row], windows: Sequence[Row], smoke: bool) -> str:
    """The page."""
    seeds, gap = len({row["seed"] for row in windows}), max(row["gap"] for row in windows)
    bowls = "; ".join(
        f"{name}, {b.count} curvatures from {b.curvatures[0]:.2g} to 1, momentum {b.momentum}"
        for name, b in BOWLS.items()
    )
    forward = [row for row in rows if row["kind"] != "lag"]
    far = sorted({row["reach"] for row in rows})[len({row["reach"] for row in rows}) // 2]
    parts = [
        "**Asked.** " + (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ").strip(),
        f"Bowls: {bowls}. SGD with lr / (1 - momentum) = .5, weight decay 1e-3 and, read by the loss, a ridge of 1e-3"
        f" towards a prior point, all four as hyperparameters; {seeds} bowls of each kind and noise, each with a window"
        f" at the start and one after {BEFORE[1]} steps (`before`). The noise of the gradient scales with the root"
        " of the curvature; at 1 it moves the parameters about as far as they had to travel.",
        "Entries: median relative error / share of right signs. `reach` is R in windows of 40 steps. `none`: abstains"
        " more often than not; no answer is a wrong sign. `one future` is the exact hypergradient of R steps on"
        f" minibatches of its own: all that the global method can know. A truth below {FLOOR:.0%} of the window's"
        " largest local value counts as that large, and has no sign. The engine's exact hypergradient and the"
        f" closed form differ by {gap:.1g} of its largest entry at most.",
        "" if smoke else FOUND,
        f"## R = {far} windows, forward trajectories",
        table(chosen(forward, reach=far), "before", "bowl", "noise"),
        f"## R = {far} windows, each hyperparameter",
        table(chosen(forward, reach=far), "before", "noise", "hyper"),
        "## All horizons, forward trajectories",
        table(forward, "before", "noise", "reach"),
        "## All horizons, lag trajectories (the adjoint engine)",
        table([row for row in rows if row["kind"] != "forward"], "before", "noise", "reach"),
    ]
    return "\n\n".join(part for part in parts if part)


def draw(rows: Sequence[Row], figure: Any) -> None:
    """Median relative error against the horizon, a row of panels for each noise level."""
    figure.set_size_inches(11, 7)
    noises, columns = sorted({row["noise"] for row in rows}), [(t, h) for t in BEFORE for h in ("lr", "weight_decay")]
    panels = figure.subplots(len(noises), len(columns), sharex=True, sharey=True, squeeze=False)
    forward = [row for row in rows if row["kind"] != "lag"]
    for noise, line in zip(noises, panels, strict=True):
        for (before, hyper), panel in zip(columns, line, strict=True):
            _draw_panel(panel, chosen(forward, noise=noise, hyper=hyper, before=before))
            panel.set_title(f"{hyper}, noise {noise:g}, after {before} steps", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel("horizon R in windows")
    for panel in panels[:, 0]:
        panel.set_ylabel("median relative error")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=9)


def _draw_panel(panel: Any, rows: Sequence[Row]) -> None:
    reaches = sorted({row["reach"] for row in rows})
    styles = {"last": {"color": "black", "lw": 2}, GLOBAL: {"color": "gray", "ls": "--"}}
    for name in DRAWN:
        groups = [chosen(rows, reach=reach, estimator=name) for reach in reaches]
        if all(groups):
            errors = [median_error(group) for group in groups]
            label = "local" if name == "last" else name
            drawn = [min(max(error, LOWEST), HIGHEST) if math.isfinite(error) else math.nan for error in errors]
            panel.plot(reaches, drawn, marker=".", label=label, alpha=0.8, **styles.get(name, {}))
    panel.set(xscale="log", yscale="log", ylim=(0.8 * LOWEST, 1.2 * HIGHEST))
    panel.grid(alpha=0.3)


def main(asked: Study) -> None:
    seeds, reach = (1, (1, 4)) if asked.smoke else (30, REACH)
    cells = [Cell(b, noise, FIRST_SEED + i, reach) for b in BOWLS for noise in NOISES for i in range(seeds)]
    windows = asked.rows(cells, run)
    rows = estimates(windows)
    title = "Quadratics: the estimators against the closed form"
    asked.publish(title, text(rows, windows, asked.smoke), condensed(rows), partial(draw, rows))


if __name__ == "__main__":
    main(study("quadratic", __doc__))
