"""Local, glocal and global hypergradients on noisy quadratics, beside the truth in closed form.

A window of 40 inner steps is differentiated. Its local hypergradient, the glocal one of every forecaster and the exact
hypergradient of a run on other minibatches are compared with the derivative of the expected validation loss after R
steps.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from extrapolation import COMPARED, estimator, shown
from noisy_quadratic import BOWLS, NAMES, Array, NoisyQuadratic
from ray_glocal.hypergradient import (
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from study import Row, Study, chosen, gathered, markdown, span, study

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


def median_error(rows: Sequence[Row]) -> float:
    """Median relative error, where no answer is an infinite one."""
    return median(row["error"] for row in rows)


def summary(rows: Sequence[Row]) -> str:
    """Median relative error and share of right signs."""
    told, signs = median_error(rows), [row["right"] for row in rows if row["right"] is not None]
    size = _size(told)
    return f"{size} / {sum(signs) / len(signs):.0%}" if signs else size


def grouped(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values of `keys`."""
    return gathered((tuple(row[key] for key in keys), row) for row in rows)


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
    return markdown([*keys, *(shown(name) for name in names)], lines)


def middle(rows: Sequence[Row]) -> int:
    """The horizon in the middle of those that were asked."""
    reaches = sorted({row["reach"] for row in rows})
    return reaches[len(reaches) // 2]


# ---- what was found ----


def found(rows: Sequence[Row]) -> str:
    """The local value, who comes nearest, the paper's rule and lag trajectories, in figures of these rows; a list."""
    forward = [row for row in rows if row["kind"] != "lag"]
    lines = [_local(forward), *_beside(forward), *_by_bowl(forward), *_nearest(forward), _paper(rows), *_lag(rows)]
    told = "**Found.** Median relative errors / shares of right signs; the answer zero errs by 1 at most."
    return "\n".join([told, "", *(f"- {line}" for line in lines)])


def errors(rows: Sequence[Row]) -> dict[str, float]:
    """Median relative error of each estimator."""
    return {name: median_error(group) for (name,), group in grouped(rows, ("estimator",)).items()}


def nearest(rows: Sequence[Row]) -> str:
    """The estimator of least median error; the exact hypergradient of one future is none."""
    told = errors(rows)
    return min((name for name in told if name != GLOBAL), key=lambda name: told[name])


def _local(rows: Sequence[Row]) -> str:
    own = chosen(rows, estimator="last")
    by_reach = [f"{_range(group)} at R = {reach}" for (reach,), group in sorted(grouped(own, ("reach",)).items())]
    far = grouped(chosen(own, reach=middle(rows)), ("hyper",))
    by_hyper = [f"{_range(group)} for {hyper}" for (hyper,), group in far.items()]
    told = f"*The local value*, over starts and noises, errs by {', '.join(by_reach)} windows"
    return f"{told}; at R = {middle(rows)} by {', '.join(by_hyper)}."


def _range(rows: Sequence[Row]) -> str:
    """Least and largest median error over starts and noises."""
    return span(map(median_error, grouped(rows, ("before", "noise")).values()), _size)


def _size(error: float) -> str:
    return "none" if math.isinf(error) else "0" if error < 1e-9 else f"{error:.2g}"


def _beside(rows: Sequence[Row]) -> list[str]:
    """For each start and noise at the middle horizon: who is nearest, and how many beat what needs no forecast."""
    lines = []
    for (before, noise), group in sorted(grouped(chosen(rows, reach=middle(rows)), ("before", "noise")).items()):
        told, best = errors(group), nearest(group)
        bar = {"the local value": told["last"], f"`{GLOBAL}`": told[GLOBAL], "the answer zero": 1.0}
        counts = [
            f"{sum(told[name] < error for name in told if name != GLOBAL)} beat {what}" for what, error in bar.items()
        ]
        named = dict.fromkeys((best, "last", "mean", "affine", "ensemble", GLOBAL))
        figures = ", ".join(f"{shown(name)} {summary(chosen(group, estimator=name))}" for name in named)
        asked = f"*R = {middle(rows)}, after {before} steps, noise {noise:g}*: {shown(best)} is nearest. {figures}"
        lines.append(f"{asked}. Of {len(told) - 1} estimators {', '.join(counts)}.")
    return lines


def _by_bowl(rows: Sequence[Row]) -> list[str]:
    """Without noise, after the later start: who is nearest in each bowl, at the middle horizon and the longest."""
    before = max(row["before"] for row in rows)
    calm, lines = chosen(rows, before=before, noise=0.0), []
    for reach in dict.fromkeys((middle(rows), max(row["reach"] for row in rows))):
        told = []
        for (bowl,), group in grouped(chosen(calm, reach=reach), ("bowl",)).items():
            best, sizes = nearest(group), errors(group)
            told.append(f"{bowl}, {shown(best)} {_size(sizes[best])} (local {_size(sizes['last'])})")
        lines += [f"*Without noise, after {before} steps, nearest at R = {reach}*: {'; '.join(told)}."] if told else []
    return lines


def _nearest(rows: Sequence[Row]) -> list[str]:
    """How often each estimator is nearest beyond the window, without noise and with it."""
    lines = []
    for told, groups in _beyond(rows).items():
        best = Counter(nearest(group) for group in groups)
        counts = ", ".join(f"{shown(name)} in {count}" for name, count in best.most_common())
        means = sum(errors(group)["mean"] < errors(group)[GLOBAL] for group in groups)
        asked = f"*{told}, beyond the window*: of {len(groups)} combinations of start, noise and horizon the nearest is"
        lines.append(f"{asked} {counts}; the plain mean beats the exact hypergradient of one future in {means}.")
    return lines


def _beyond(rows: Sequence[Row]) -> dict[str, list[list[Row]]]:
    """Combinations of start, noise and horizon beyond the window, without noise and with it."""
    groups = sorted(grouped(rows, ("noise", "before", "reach")).items())
    return gathered(("With noise" if noise else "Without noise", group) for (noise, _, r), group in groups if r > 1)


def _paper(rows: Sequence[Row]) -> str:
    shares = []
    for kind in ENGINES:
        own = chosen(rows, estimator="paper", kind=kind)
        shares.append(f"{sum(math.isfinite(row['error']) for row in own) / len(own):.0%} from {kind} trajectories")
    return f"*The paper's rule* answers in {', '.join(shares)}."


def _lag(rows: Sequence[Row]) -> list[str]:
    """How often lag trajectories are better to forecast from than forward ones, and how often than not to forecast."""
    lines = []
    for told, groups in _beyond(chosen(rows, kind="forward") + chosen(rows, kind="lag")).items():
        pairs = []
        for group in groups:
            lag, forward = (errors(chosen(group, kind=kind)) for kind in ("lag", "forward"))
            names = [name for name in forward if name != "last" and math.isfinite(forward[name])]
            pairs += [(lag[name] < forward[name], lag[name] < lag["last"]) for name in names]
        better, useful = (sum(pair[i] for pair in pairs) for i in range(2))
        asked = f"*{told}, lag trajectories* are better to forecast from than forward ones in {better} of {len(pairs)}"
        cases = "cases (estimators by combinations, without those that abstain)"
        lines.append(f"{asked} {cases}; forecasts from them beat the local value in {useful}.")
    return lines


def text(rows: Sequence[Row], windows: Sequence[Row]) -> str:
    """The page."""
    seeds, gap = len({row["seed"] for row in windows}), max(row["gap"] for row in windows)
    bowls = "; ".join(
        f"{name}, {b.count} curvatures from {b.curvatures[0]:.2g} to 1, momentum {b.momentum}"
        for name, b in BOWLS.items()
    )
    forward = [row for row in rows if row["kind"] != "lag"]
    far = middle(rows)
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
        found(rows),
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
            drawn = [min(max(error, LOWEST), HIGHEST) if math.isfinite(error) else math.nan for error in errors]
            panel.plot(reaches, drawn, marker=".", label=shown(name), alpha=0.8, **styles.get(name, {}))
    panel.set(xscale="log", yscale="log", ylim=(0.8 * LOWEST, 1.2 * HIGHEST))
    panel.grid(alpha=0.3)


def main(asked: Study) -> None:
    seeds, reach = (1, (1, 4)) if asked.smoke else (30, REACH)
    cells = [Cell(b, noise, FIRST_SEED + i, reach) for b in BOWLS for noise in NOISES for i in range(seeds)]
    windows = asked.rows(cells, run)
    rows = estimates(windows)
    title = "Quadratics: the estimators against the closed form"
    asked.publish(title, text(rows, windows), condensed(rows), partial(draw, rows))


if __name__ == "__main__":
    main(study("quadratic", __doc__))
