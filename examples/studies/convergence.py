"""How the error of the forecast falls as local hypergradients are added, and where it does not.

Hataya and Kawahara (arXiv:2402.02741) prove that the Hankel-DMD estimate comes nearer to the global hypergradient the
more local hypergradients it sees, for a system whose motion a linear operator describes. A window that starts at one
step of a run is lengthened from 8 inner steps to 128; every forecaster carries its N local hypergradients on to the
same end of training. The rate is the slope of log error on log N.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat
from typing import Any

import numpy as np

from error_rates import EXACT, Rates, fall, grouped, in_the_end, median_error, rates, summary
from extrapolation import shown
from noisy_quadratic import BOWLS, NoisyQuadratic
from ray_glocal.forecast import Forecaster
from ray_glocal.hypergradient import (
    Hyperparameter,
    Problem,
    adjoint_trajectory,
    forward_trajectory,
    global_hypergradient,
    record_window,
)
from ray_glocal.hypergradient.window.window import Window
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.forecasters import FORECASTERS
from study import Row, Study, chosen, gathered, markdown, study
from tasks import TASKS, Shuffled, loss, optimizer

LENGTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
BEFORE = 100  # plain steps ahead of the window
FIRST_SEED = 100
FLOOR = 0.01  # a truth smaller than this share of the longest window's largest local value counts as that large
SHOWN = [name for name in ("last", "mean", "paper", "affine", "ensemble", "evidence") if name in FORECASTERS]
DELAYED = {"paper": "paper, N/3 delays", "affine": "affine, N/3 delays"}  # as many delays as a theorem needs
NAMES = ("lr", "momentum", "weight_decay")
COLOURS = dict(zip(SHOWN, ("black", "tab:gray", "tab:orange", "tab:green", "tab:red", "tab:purple"), strict=False))
LOWEST, HIGHEST = 1e-6, 1e2  # errors that the figure tells apart


@dataclass(frozen=True)
class Quadratic:
    """A bowl whose truth is the closed form of the expected loss."""

    bowl: str
    noise: float
    steps: int

    def measured(self, seed: int, lengths: Sequence[int]) -> Row:
        """Trajectories of all lengths, and the truth."""
        quad = NoisyQuadratic(BOWLS[self.bowl], self.noise, seed)
        noise = quad.batches(BEFORE + max(lengths))
        past, told = noise[:BEFORE], noise[BEFORE:]
        problem = quad.problem()
        for batch in past:
            problem.advance(batch, problem.start_values())
        # What is foretold is averaged over all that a window of any length cannot know.
        truth = {str(n): quad.expected(told[:n], [self.steps], past)[0, :3].tolist() for n in lengths}
        return {**trajectories(problem, told, [None], lengths), "truth": truth}


@dataclass(frozen=True)
class Training:
    """A task under SGD, whose truth is the mean over futures of the exact hypergradient.

    Args:
        task: A key of `TASKS`.
        size: Of a batch; None is full batch, which has but one future.
        steps: R, inner steps from the window's start to the end.
        futures: Runs on minibatches of their own after the longest window.
    """

    task: str
    size: int | None
    steps: int
    futures: int

    def measured(self, seed: int, lengths: Sequence[int]) -> Row:
        """Trajectories of all lengths, and the truth."""
        task = TASKS[self.task]
        data, model = task.data(), task.model(seed)
        hyper = [
            Hyperparameter("lr", 0.1, 1e-4, 1.0, "log"),
            Hyperparameter("momentum", 0.9, 0.0, 0.99, "logit"),
            Hyperparameter("weight_decay", 1e-2, 1e-6, 1.0, "log"),
        ]
        problem = Problem(model, optimizer("sgd", model, 0.1, 0.9, 1e-2), loss, loss, hyper)
        values, val = problem.start_values(), [data.val]
        told = self._batches(seed, BEFORE + max(lengths))
        for batch in told[:BEFORE]:
            problem.advance(batch, values)
        told = told[BEFORE:]
        ends = []
        for future in range(self.futures):
            rest = self._batches((seed + 1) * 1000 + future, self.steps - len(told))
            exact = global_hypergradient(problem, told + rest, val, values)
            ends.append(problem.pull_back(values, exact.derivatives[-1]).numpy())
        truth = np.mean(ends, axis=0).tolist()
        return {**trajectories(problem, told, val, lengths), "truth": {str(n): truth for n in lengths}}

    def _batches(self, seed: int, count: int) -> list[Any]:
        batches = Shuffled(TASKS[self.task].data().train, seed, self.size)
        return list(islice(chain.from_iterable(repeat(batches)), count))


PROBLEMS: dict[str, Quadratic | Training] = {
    "calm bowl": Quadratic("calm", 0.0, 1000),
    "calm bowl, noise .1": Quadratic("calm", 0.1, 1000),
    "calm bowl, noise 1": Quadratic("calm", 1.0, 1000),
    "wide bowl": Quadratic("wide", 0.0, 1000),
    "digits-linear, full batch": Training("digits-linear", None, 500, 1),
    "digits-mlp, full batch": Training("digits-mlp", None, 500, 1),
    "digits-mlp, batches of 32": Training("digits-mlp", 32, 500, 8),
}


@dataclass(frozen=True)
class Cell:
    """One run of one problem."""

    problem: str
    seed: int
    lengths: tuple[int, ...]


def run(cell: Cell) -> list[Row]:
    """Trajectories and truth of one run; the forecasts come at the end."""
    told = PROBLEMS[cell.problem]
    return [{"problem": cell.problem, "seed": cell.seed, "steps": told.steps, **told.measured(cell.seed, cell.lengths)}]


def trajectories(problem: Problem, told: Sequence[Any], val: Sequence[Any], lengths: Sequence[int]) -> Row:
    """Forward trajectory of the longest window (it holds the shorter ones), and the lag trajectory of each."""
    values = problem.start_values()
    window = record_window(problem, told, val, values)
    forward = problem.pull_back(values, forward_trajectory(problem, window).derivatives)[:, :3]
    lags = {}
    for length in lengths:
        end = window.end if length == len(told) else window.snapshots[length].state
        lag = adjoint_trajectory(problem, Window(window.snapshots[:length], end, val))
        lags[str(length)] = problem.pull_back(values, lag.derivatives)[:, :3].tolist()
    return {"forward": forward.tolist(), "lag": lags}


# ---- estimates ----


def estimates(runs: Sequence[Row]) -> list[Row]:
    """One row for each run, trajectory, length, forecaster and hyperparameter."""
    return [row for measured in runs for length in map(int, measured["truth"]) for row in _estimates(measured, length)]


def estimators(length: int) -> dict[str, Forecaster]:
    """Forecasters by the names they have on the page."""
    made = {name: forecaster(name) for name in SHOWN}
    return made | {told: forecaster(name, delays=length // 3) for name, told in DELAYED.items()}


def _estimates(measured: Row, length: int) -> list[Row]:
    forward, truth = np.array(measured["forward"]), np.array(measured["truth"][str(length)])
    size = np.maximum(np.abs(truth), FLOOR * np.abs(forward).max(axis=0))
    series = {"forward": forward[:length], "lag": np.array(measured["lag"][str(length)])}
    rows = []
    for kind, seen in series.items():
        for name, made in estimators(length).items():
            errors = np.abs(made.forecast(seen, measured["steps"] - length).mean - truth) / size
            asked = {"problem": measured["problem"], "seed": measured["seed"], "kind": kind, "length": length}
            rows += [
                {**asked, "estimator": name, "hyper": hyper, "error": float(error), "answered": math.isfinite(error)}
                for hyper, error in zip(NAMES, errors, strict=True)
            ]
    return rows


# ---- the page ----


def table(rows: Sequence[Row], kind: str, hyper: str) -> str:
    """Problems against forecasters."""
    seen = chosen(rows, kind=kind, hyper=hyper)
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    lines = [[p, *(summary(chosen(seen, problem=p, estimator=name)) for name in names)] for p in _problems(rows)]
    return markdown(["problem", *(shown(name) for name in names)], lines)


# ---- what was found ----


def found(rows: Sequence[Row]) -> str:
    """The lowest rate and the nearest forecast of every problem, and what noise, delays and lags do to them."""
    forward = rates(rows, "forward")
    lines = [_falls(chosen(rows, problem=problem, kind="forward"), forward) for problem in _problems(rows)]
    lines += [*_over(forward), _delays(forward), _paper(rows), _lag(rows)]
    told = "**Found.** From forward trajectories; in brackets median errors of answers, shortest and longest window."
    return "\n".join([told, "", *(f"- {line}" for line in lines if line)])


def _problems(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["problem"] for row in rows))


def _noise(problem: str) -> str:
    told = PROBLEMS[problem]
    noisy = told.noise if isinstance(told, Quadratic) else told.size
    return "with noise" if noisy else "without noise"


def _falls(rows: Sequence[Row], forward: Rates) -> str:
    """For each hyperparameter of a problem: the lowest rate, who is nearest in the end, and the local value."""
    groups, last, parts = grouped(rows, "forward"), in_the_end(rows, "forward"), []
    for problem, hyper in dict.fromkeys(key[:2] for key in groups):
        own = [key for key in groups if key[1] == hyper]
        lowest = min((key for key in own if key in forward), key=lambda key: forward[key][0])
        nearest = min((key for key in own if key in last), key=lambda key: last[key])
        told = [f"{forward[key][0]:+.1f} ({fall(groups[key])})" for key in (lowest, (problem, hyper, "last"))]
        asked = f"for {hyper}, the lowest rate has `{shown(lowest[2])}`, {told[0]}, the nearest in the end"
        parts.append(f"{asked} `{shown(nearest[2])}` ({last[nearest]:.2g}), the local value has {told[1]}")
    return f"*{rows[0]['problem']}*: {'; '.join(parts)}."


def _over(forward: Rates) -> list[str]:
    """The range of each estimator's slopes, and how often its error falls, over problems without noise and with it."""
    seen = gathered(((_noise(problem), name), rate) for (problem, _, name), rate in forward.items())
    parts = []
    for (noise, name), own in seen.items():
        slopes, falls = [rate[0] for rate in own], sum(rate[2] < 0 for rate in own)
        told = f"`{shown(name)}` {min(slopes):+.1f} to {max(slopes):+.1f} ({falls} of {len(own)})"
        parts.append((noise, told))
    asked = "in how many pairs of problem and hyperparameter with a rate the whole interval is below zero"
    return [f"*Rates {noise}*, and {asked}: {'; '.join(told)}." for noise, told in gathered(parts).items()]


def _delays(forward: Rates) -> str:
    """How often delays that grow with the window make a lower rate than the default."""
    both = {key: (*key[:2], DELAYED[key[2]]) for key in forward if key[2] in DELAYED}
    lower = gathered(
        (f"`{key[2]}` {_noise(key[0])}", forward[more][0] < forward[key][0])
        for key, more in both.items()
        if more in forward
    )
    told = ", ".join(f"{name} in {_of(own)}" for name, own in lower.items())
    return f"*N/3 delays* make a lower rate than the default: {told}." if told else ""


def _of(told: Sequence[bool]) -> str:
    return f"{sum(told)} of {len(told)}"


def _paper(rows: Sequence[Row]) -> str:
    """How often the paper's rule answers at its defaults, problem by problem."""
    own = gathered((row["problem"], row["answered"]) for row in chosen(rows, estimator="paper", kind="forward"))
    told = ", ".join(f"{sum(answers) / len(answers):.0%} ({problem})" for problem, answers in own.items())
    often = _of([sum(answers) > len(answers) / 2 for answers in own.values()])
    asked = "*The paper's rule at its defaults* answers in"
    return f"{asked} {told}: more often than not in {often} problems." if told else ""


def _lag(rows: Sequence[Row]) -> str:
    """How often forecasts from lag trajectories beat the local value in the end, and how often they get worse."""
    last = in_the_end(rows, "lag")
    better = [error < last[problem, hyper, "last"] for (problem, hyper, name), error in last.items() if name != "last"]
    worse = gathered((hyper, rate[1] > 0) for (_, hyper, name), rate in rates(rows, "lag").items() if name != "last")
    grows = ", ".join(f"{_of(grown)} for {hyper}" for hyper, grown in worse.items())
    asked = f"*From lag trajectories* forecasts beat the local value in the end in {_of(better)} cases"
    return f"{asked}; errors grow with N (the whole interval above zero) in {grows or 'none'}."


def text(rows: Sequence[Row]) -> str:
    """The page."""
    seeds = {p: len({row["seed"] for row in rows if row["problem"] == p}) for p in {row["problem"] for row in rows}}
    parts = [
        "**Asked.** " + (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ").strip(),
        f"Every window starts after {BEFORE} plain steps of SGD. Bowls as in the study of quadratics, the end 1000"
        " steps ahead, the truth in closed form (the mean over all futures); digits with lr .1, momentum .9, weight"
        " decay 1e-2, the end 500 steps ahead, the truth exact (with minibatches: the mean over 8 futures). Runs:"
        f" {min(seeds.values())} to {max(seeds.values())} for each problem.",
        "Entries: slope of log error on log N [95 % interval over runs], median relative error with the shortest window"
        f" to that with the longest. A truth below {FLOOR:.0%} of the largest local value counts as that large; errors"
        f" below {EXACT:g} count as {EXACT:g}. A forecaster that abstains in more than half of the cases has no slope."
        " `N/3 delays` lets the delay vectors grow with the window; by default they stay about twelve columns wide.",
        found(rows),
    ]
    for kind, told in (("forward", "forward trajectories"), ("lag", "lag trajectories (the adjoint engine)")):
        parts += [part for hyper in NAMES for part in (f"## {hyper}, {told}", table(rows, kind, hyper))]
    return "\n\n".join(part for part in parts if part)


def draw(rows: Sequence[Row], figure: Any) -> None:
    """Median relative error against the number of local hypergradients, a panel for each problem."""
    figure.set_size_inches(15, 6)
    problems = _problems(rows)
    hypers = ("lr", "weight_decay")
    panels = figure.subplots(len(hypers), len(problems), sharex=True, sharey=True, squeeze=False)
    for hyper, line in zip(hypers, panels, strict=True):
        for problem, panel in zip(problems, line, strict=True):
            _draw_panel(panel, chosen(rows, kind="forward", hyper=hyper, problem=problem))
            panel.set_title(f"{problem}\n{hyper}", fontsize=8)
        line[0].set_ylabel("median relative error")
    for panel in panels[-1]:
        panel.set_xlabel("local hypergradients N")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=8, fontsize=9)


def _draw_panel(panel: Any, rows: Sequence[Row]) -> None:
    lengths = sorted({row["length"] for row in rows})
    for name in dict.fromkeys(row["estimator"] for row in rows):
        errors = [median_error(chosen(rows, length=length, estimator=name)) for length in lengths]
        style = {"color": COLOURS[name.split(",")[0]], "ls": "--" if name in DELAYED.values() else "-"}
        panel.plot(lengths, np.clip(errors, LOWEST, HIGHEST), marker=".", label=shown(name), alpha=0.8, **style)
    panel.set(xscale="log", yscale="log", ylim=(0.8 * LOWEST, 1.2 * HIGHEST))
    panel.set_xticks([8, 32, 128], labels=["8", "32", "128"])
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def cells(smoke: bool) -> list[Cell]:
    """Few runs of few lengths, or the whole."""
    if smoke:
        small = ("calm bowl", "calm bowl, noise 1", "digits-linear, full batch")
        return [Cell(name, FIRST_SEED + seed, (8, 16, 32)) for name in small for seed in range(2)]
    runs = {name: 20 if isinstance(told, Quadratic) else 8 for name, told in PROBLEMS.items()}
    return [Cell(name, FIRST_SEED + seed, LENGTHS) for name, count in runs.items() for seed in range(count)]


def main(asked: Study) -> None:
    rows = estimates(asked.rows(cells(asked.smoke), run))
    title = "Convergence: the forecast's error against the number of local hypergradients"
    asked.publish(title, text(rows), rows, partial(draw, rows))


if __name__ == "__main__":
    main(study("convergence", __doc__))
