"""What each choice of the estimator and of the session is worth: one of them is changed at a time.

Estimators are scored on the test bed's recorded windows, so `bed.py` runs first or its committed cases are read.
Sessions train from poor starts as in `end_to_end.py`, on the seeds that the defaults were chosen on: this says why
they are what they are, and proves nothing. Their budget is kept by a clock that counts, so that windows are the same
on every machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import geometric_mean, mean
from typing import Any

import numpy as np

from cases import exploded, load_cases, sign_difference
from counted import counted
from end_to_end import Adapted, adapted
from energy import EnergyRank
from ray_glocal import Settings
from ray_glocal.forecast import Array, Forecast, Forecaster
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.forecasters.affine import Affine
from ray_glocal.koopman.forecasters.increment import Increment
from ray_glocal.koopman.rank import FixedRank, FullRank, OptimalRank
from ray_glocal.validation.case import Case
from ray_glocal.validation.estimates import Estimates, OnWindow, Pooled, estimates
from ray_glocal.validation.scores import score
from study import HOME, Row, Study, gathered, markdown, study
from tasks import TASKS, mean_loss

BED = HOME / "results" / "bed" / "cases.parquet"
LENGTHS = (5, 10, 20, 40)
DELAYS = (1, 2, 5, 10, None)
RANKS = {
    "1 mode": FixedRank(1),
    "2 modes": FixedRank(2),
    "4 modes": FixedRank(4),
    "99 % of the energy": EnergyRank(0.99),
    "optimal threshold": OptimalRank(),
    "every direction": FullRank(),
}
TASKS_TRIED = ("digits-mlp", "letter-mlp", "fashion-mlp")
STARTS = (1e-3, 1e-1)
SEEDS = (40, 41, 42)
VERSION = 2  # of the session's defaults; a new one reruns the sessions
WINDOWS = {"hypergradients": "windows", "averaging": False, "overhead": 0.25}  # what is varied here
CHANGES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "window": {f"{k} steps": {"window": k} for k in (8, 32)},
    "budget": {f"{share:g}": {"overhead": share} for share in (0.1, 0.5, 1.0)},
    "how often": {f"1/{k}": {"overhead": None, "duty_cycle": 1 / k} for k in (4, 8, 16)},
    "forecaster": {name: {"forecaster": name} for name in ("last", "mean", "paper", "increment", "ensemble")},
    "outer loss": {"at the last parameters": {"tail": 0}},
    "learning rate": {"by the forecast": {"heat": 0}, "heat .1": {"heat": 0.1}, "heat .3": {"heat": 0.3}},
    "gate": {"act from .5 deviations": {"act": 0.5}, "act from 2 deviations": {"act": 2.0, "act_small": 1.0}},
}
AUTOMATIC = {"delays": "by the window", "rank": "optimal threshold", "dictionary": "the series"}  # where none is asked
ERRORS = 1.96  # standard errors, to either side, of a 95 % interval
Series = Callable[[Array], Array]

# ---- the estimator ----


@dataclass(frozen=True)
class Lifted:
    """A forecaster in a larger dictionary: the series beside nonlinear observables of it.

    Args:
        forecaster: Predicts the joined series; the channels of the series itself are the answer.
        observables: Maps a scaled series [K, q] to others [K, any].
    """

    forecaster: Forecaster
    observables: Series

    def forecast(self, series: Array, horizon: float) -> Forecast:
        """Forecast the series by its larger self."""
        scale = np.maximum(np.abs(series).max(axis=0), np.finfo(float).tiny)
        told = self.forecaster.forecast(np.hstack([series, self.observables(series / scale)]), horizon)
        q = series.shape[1]
        return replace(told, mean=told.mean[:q], deviation=told.deviation[:q])


def _products(scaled: Array) -> Array:
    first, second = np.triu_indices(scaled.shape[1])
    products: Array = scaled[:, first] * scaled[:, second]
    return products


DICTIONARIES: Mapping[str, Series] = {
    "and squares": np.square,
    "and products": _products,
    "and squares, cubes": lambda scaled: np.hstack([scaled**2, scaled**3]),
    "and sines, cosines": lambda scaled: np.hstack([np.sin(np.pi * scaled), np.cos(np.pi * scaled)]),
}


def shortened(case: Case, length: int) -> Case:
    """The case as a shorter window would have seen it: the first steps forward, the same truth."""
    return replace(case, forward=case.forward[:length], lag=case.lag[:length])


def fewer(case: Case, windows: int) -> Case:
    """The case with the last few windows of its run alone."""
    kept = max(0, len(case.earlier) - (windows - 1))
    return replace(case, earlier=case.earlier[kept:], earlier_starts=case.earlier_starts[kept:])


def estimators(cases: Sequence[Case]) -> dict[tuple[str, str], Estimates]:
    """Every variant's answers, by the choice and what was chosen."""
    told = {}
    for length in LENGTHS:
        short = [shortened(case, length) for case in cases]
        for name in ("last", "increment", "evidence"):
            told[f"window, `{name}`", f"{length} steps"] = estimates(OnWindow(forecaster(name), "forward"), short)
    for windows in range(1, 5):
        pooled = [fewer(case, windows) for case in cases]
        told["windows pooled, `evidence`", f"{windows}"] = estimates(Pooled(forecaster("evidence")), pooled)
    for kind in (Increment, Affine):
        name = kind.__name__.lower()
        for delays in DELAYS:
            label = "by the window" if delays is None else f"{delays}"
            told[f"delays, `{name}`", label] = estimates(OnWindow(kind(delays=delays), "forward"), cases)
        for label, rank in RANKS.items():
            told[f"rank, `{name}`", label] = estimates(OnWindow(kind(rank=rank), "forward"), cases)
        told[f"dictionary, `{name}`", "the series"] = estimates(OnWindow(kind(), "forward"), cases)
        for label, observables in DICTIONARIES.items():
            lifted = OnWindow(Lifted(kind(), observables), "forward")
            told[f"dictionary, `{name}`", label] = estimates(lifted, cases)
    return told


def estimator_table(told: Mapping[tuple[str, str], Estimates], yardstick: Estimates) -> tuple[str, list[Row]]:
    """Scores of each variant, and its gain in signs over the plain local value."""
    header = ["choice", "value", "answers", "sign", "gain over `last`", "error, median", "coverage", "sign acted on"]
    lines, rows = [], []
    for (choice, value), own in told.items():
        found, gain = score(own), sign_difference(own, yardstick)
        interval = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        scores = [found.answered, found.sign, interval, found.error, found.coverage, found.acted_sign]
        lines.append([choice, value, *scores])
        rows.append({"part": "estimator", "choice": choice, "value": value, **vars(found)})
    return markdown(header, lines), rows


# ---- the session ----


@dataclass(frozen=True)
class Variant:
    """A session with one setting changed."""

    choice: str
    value: str
    settings: Settings
    run: Adapted


def train(cell: Variant) -> list[Row]:
    """Train, and measure the test loss."""
    task = TASKS[cell.run.task]
    model, told = adapted(cell.run, task, cell.settings, counted)
    where = {"task": cell.run.task, "lr": cell.run.lr, "seed": cell.run.seed}
    what = {"part": "session", "choice": cell.choice, "value": cell.value}
    return [{**what, **where, "test": mean_loss(model, task.data().test), **told}]


def variants(smoke: bool) -> list[Variant]:
    """The default and every change, on every problem."""
    tasks, starts, seeds = (TASKS_TRIED[:1], STARTS[1:], SEEDS[:1]) if smoke else (TASKS_TRIED, STARTS, SEEDS)
    changes = [("default", "", {})]
    changes += [(choice, value, told) for choice, values in CHANGES.items() for value, told in values.items()]
    return [
        Variant(
            choice, value, Settings(**{**WINDOWS, **told}), Adapted(task, "sgd", lr, seed, _steps(task, smoke), VERSION)
        )
        for choice, value, told in (changes[:2] if smoke else changes)
        for task in tasks
        for lr in starts
        for seed in seeds
    ]


def _steps(task: str, smoke: bool) -> int:
    return 300 if smoke else TASKS[task].steps


def compared(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[float, float]]:
    """Each change's test loss over the default's: geometric mean, and the half width of its logarithm's interval."""
    default = {_place(row): row["test"] for row in rows if row["choice"] == "default"}
    told = gathered(((row["choice"], row["value"]), row["test"] / default[_place(row)]) for row in rows)
    return {change: (geometric_mean(ratios), _half(ratios)) for change, ratios in told.items()}


def _half(ratios: Sequence[float]) -> float:
    if len(ratios) < 2:
        return float("nan")
    return float(ERRORS * np.std(np.log(ratios), ddof=1) / np.sqrt(len(ratios)))


def session_table(rows: Sequence[Row]) -> str:
    """Each change's test loss as a ratio to the default's: by task, and over all runs with its spread."""
    names = list(dict.fromkeys(row["task"] for row in rows))
    by_task = {name: compared([row for row in rows if row["task"] == name]) for name in names}
    lines = []
    for change, (ratio, half) in compared(rows).items():
        cells = [f"{by_task[name][change][0]:.2f}" for name in names]
        cost = mean(row["cost"] for row in rows if (row["choice"], row["value"]) == change)
        lines.append([*change, *cells, f"{ratio:.3f} ± {half:.3f}", f"{cost:.2f}"])
    return markdown(["choice", "value", *names, "all", "cost, steps"], lines)


def _place(row: Row) -> tuple[str, float, int]:
    return row["task"], row["lr"], row["seed"]


# ---- the page ----


def found(rows: Sequence[Row]) -> str:
    """What each choice of the estimator moves, and which changes of the session can be told from its default."""
    topics: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row["part"] == "estimator":
            topic, by = row["choice"].split(", ")
            topics.setdefault(topic, {}).setdefault(by, []).append(row)
    lines = [_moved(topic, told) for topic, told in topics.items()]
    lines += [_forecasters(topics["window"])] if "window" in topics else []
    return "\n".join(["**Found.**", "", *lines, *_felt([row for row in rows if row["part"] == "session"])])


def _moved(topic: str, told: Mapping[str, Sequence[Row]]) -> str:
    """The range of signs and of errors over a choice's values, for each forecaster."""
    parts = []
    for by, rows in told.items():
        signs, errors = _span(rows, "sign"), _span(rows, "error")
        parts.append(f"{by}, right signs from {signs}, median errors from {errors}{_beside(topic, rows)}")
    return f"- *{topic.capitalize()}*: {'; '.join(parts)}."


def _span(rows: Sequence[Row], key: str) -> str:
    low, high = (pick(rows, key=lambda row: row[key]) for pick in (min, max))
    return f"{low[key]:.3f} ({low['value']}) to {high[key]:.3f} ({high['value']})"


def _beside(topic: str, rows: Sequence[Row]) -> str:
    """Where the value lies that is taken where none is asked for."""
    own = next((row for row in rows if row["value"] == AUTOMATIC.get(topic)), None)
    if own is None:
        return ""
    signs, errors = sum(row["sign"] > own["sign"] for row in rows), sum(row["error"] < own["error"] for row in rows)
    return (
        f", at the default ({own['value']}) {own['sign']:.3f} and {own['error']:.3f}, with more right signs in {signs}"
        f" and a smaller error in {errors} of the {len(rows) - 1} others"
    )


def _forecasters(told: Mapping[str, Sequence[Row]]) -> str:
    """What each forecaster makes of the longest window."""
    ends = {by: rows[-1] for by, rows in told.items()}
    each = [
        f"{by} {row['sign']:.3f} right signs, median error {row['error']:.3f}, coverage {row['coverage']:.3f}"
        for by, row in ends.items()
    ]
    return f"- *The forecaster of an estimate*, at {next(iter(ends.values()))['value']}: {'; '.join(each)}."


def _felt(rows: Sequence[Row]) -> list[str]:
    """The session's changes by what can be told of them: test losses over the default's, the highest first."""
    groups: dict[str, list[str]] = {"above": [], "below": [], "neither": []}
    told = {change: ratio for change, ratio in compared(rows).items() if change[0] != "default"}
    for change, (ratio, half) in sorted(told.items(), key=lambda pair: -pair[1][0]):
        verdict = "above" if np.log(ratio) > half else "below" if np.log(ratio) < -half else "neither"
        groups[verdict].append(f"{': '.join(change)} {ratio:.3f} ± {half:.3f}")
    above, below, neither = (", ".join(group) or "none" for group in groups.values())
    return [
        f"- *Changes that make a session worse*, by more than {ERRORS} standard errors (test loss over the default's):"
        f" {above}.",
        f"- *Changes that make it better*, by as much: {below}.",
        f"- *Changes that cannot be told from the default*: {neither}.",
    ]


def text(rows: Sequence[Row], windows: int, table: str) -> str:
    """The page, around the estimators' table over so many windows."""
    trained = [row for row in rows if row["part"] == "session"]
    parts = [
        found(rows),
        "## The estimator",
        f"On {windows} windows of the test bed, forward trajectories unless pooled. *Gain*: in right signs over"
        " the plain local value of whole windows, with the 95 % interval of a bootstrap over runs.",
        table,
        "## The session",
        "By windows, with a budget of a quarter where nothing else is said. Test loss as a ratio to the default's from"
        " the same start and seed: geometric means over"
        f" {len({row['lr'] for row in trained})} starts and {len({row['seed'] for row in trained})} seeds, with"
        f" {ERRORS} standard errors. Where their share of the time is given, longer windows come less often. A learning"
        " rate follows its heat, a local value, unless that is 0.",
        session_table(trained),
    ]
    return "\n\n".join(parts)


def draw(figure: Any, told: Mapping[tuple[str, str], Estimates], rows: Sequence[Row]) -> None:
    """Signs against the median error on the bed; ratios to the default's test loss in sessions."""
    left, right = figure.subplots(1, 2)
    for choice in dict.fromkeys(choice for choice, _ in told):
        found = [score(own) for (other, _), own in told.items() if other == choice]
        left.plot([f.error for f in found], [f.sign for f in found], "o-", label=choice, alpha=0.7)
    left.set(xscale="log", xlabel="median error", ylabel="right signs", title="estimators on the bed")
    left.legend(fontsize=6)
    default = {_place(row): row["test"] for row in rows if row["choice"] == "default"}
    labels = list(dict.fromkeys(f"{row['choice']}: {row['value']}" for row in rows))
    for height, label in enumerate(labels):
        own = [row for row in rows if f"{row['choice']}: {row['value']}" == label]
        right.plot([row["test"] / default[_place(row)] for row in own], [height] * len(own), ".", alpha=0.5)
    right.set(xscale="log", xlabel="test loss over the default's", title="sessions")
    right.set_yticks(range(len(labels)), labels, fontsize=6)
    right.axvline(1, color="grey", linewidth=0.8)


def main(asked: Study) -> None:
    cases = [case for case in load_cases(BED) if not exploded(case)]
    cases = cases[::40] if asked.smoke else cases
    trained = asked.rows(variants(asked.smoke), train)
    told = estimators(cases)
    table, scored = estimator_table(told, estimates(OnWindow(forecaster("last"), "lag"), cases))
    rows = [*scored, *trained]
    asked.publish("Ablation", text(rows, len(cases), table), rows, partial(draw, told=told, rows=trained))


if __name__ == "__main__":
    main(study("ablation", __doc__))
