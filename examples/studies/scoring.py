"""The test bed's page: every registered forecaster on every recorded case, and where each is good.

`python examples/studies/scoring.py [FOLDER]` scores what is recorded so far, while a recording is at work.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cases import exploded, load_cases, row_of, scores_by_label, sign_difference
from extrapolation import COMPARED, estimator
from ray_glocal.koopman import forecaster
from ray_glocal.validation.case import Case
from ray_glocal.validation.estimates import Estimates, OnWindow, Pooled, estimates
from ray_glocal.validation.scores import Score, ceiling, score
from study import HOME, Row, Study, markdown

SERIES = ("forward", "lag")
POOLED = ("last", "mean", "ensemble", "evidence")
MATTERS = 1e-3  # elasticity of the truth from which a sign is worth knowing
YARDSTICK = "last"
PLACES = ((0.1, "early"), (0.45, "first half"), (0.65, "second half"), (1.0, "late"))
FAMILY = {"quadratic": "quadratic", "linear": "linear", "mlp": "MLP", "cnn": "CNN", "gru": "GRU"}


def publish(here: Study, cases: Sequence[Case]) -> None:
    """Score the cases; write table, figure, rows, and the cases themselves in single precision."""
    kept = [case for case in cases if not exploded(case)]
    told = {(n, s): estimates(OnWindow(estimator(n), s), kept) for n in COMPARED for s in SERIES}
    told |= {(n, "pooled"): estimates(Pooled(forecaster(n)), kept) for n in POOLED}
    groups = {name: _groups(kept, of) for name, of in GROUPS.items()}
    parts = [
        _introduction(cases, kept),
        "## All windows",
        _overall(told),
        *(part for name, members in groups.items() for part in (f"## By {name}", _matrix(told, members))),
        "## By hyperparameter",
        _labels(told),
    ]
    here.publish("The test bed", "\n\n".join(parts), _rows(told, groups), partial(_draw, told))
    save(cases, here.out / "cases.parquet")


def save(cases: Sequence[Case], place: Path) -> None:
    """Write cases in single precision, for the record; `load_cases` reads them."""
    table = pa.Table.from_pylist([row_of(case) for case in cases])
    pq.write_table(table.cast(pa.schema([(f.name, _single(f.type)) for f in table.schema])), place, compression="zstd")


def _single(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_single(kind.value_type))
    return pa.float32() if pa.types.is_float64(kind) else kind


def _family(case: Case) -> str:
    return FAMILY.get(case.about["task"].split("-")[-1], "transformer")


def _place(case: Case) -> str:
    share = case.start / (case.start + case.remaining)
    return next(name for most, name in PLACES if share < most)


GROUPS: Mapping[str, Callable[[Case], str]] = {
    "place in training": _place,
    "kind of task": _family,
    "batch": lambda case: "full batch" if case.about["batch"] == "0" else "batches of " + case.about["batch"],
    "optimizer": lambda case: case.about["optimizer"],
    "schedule": lambda case: case.about["schedule"],
}


def _groups(cases: Sequence[Case], of: Callable[[Case], str]) -> dict[str, np.ndarray]:
    """Numbers of the cases of each group."""
    names = [of(case) for case in cases]
    return {name: np.flatnonzero([other == name for other in names]) for name in dict.fromkeys(names)}


def _introduction(cases: Sequence[Case], kept: Sequence[Case]) -> str:
    runs, futures = len({case.run for case in cases}), max(len(case.truths) for case in cases)
    return (
        f"{len(cases)} windows of {len(cases[0].lag)} steps from {runs} training runs at fixed hyperparameters, each"
        f" beside the exact hypergradient at the end of training, averaged over up to {futures} orders of the batches"
        f" to come. {len(cases) - len(kept)} windows whose exact hypergradient exceeds 100 times the loss (the edge of"
        " stability, where it foretells no step) are left out. *Sign* is the share of right signs, a refusal counts as"
        f" wrong; *where it matters*: elasticity above {MATTERS:g}. *Error* is |estimate - truth| / |truth|; *coverage*"
        " that of nominal 90 % intervals; the gate acts, acts by a part, or holds. *Gain* is the sign accuracy less"
        f" that of `{YARDSTICK}`, with the 95 % interval of a bootstrap over runs. Series: local hypergradients after"
        " 1 .. K steps (`forward`), the effect of a change over the last 1 .. K steps (`lag`), and the latter of up to"
        " four windows, read in the schedule's flow time (`pooled`). One future's"
        f" sign agrees with that of the others in {ceiling(kept):.0%} of entries: no estimator can do much better."
    )


def _matters(told: Estimates) -> Estimates:
    return told.where(np.abs(told.truth) > MATTERS * told.loss)


def _overall(told: Mapping[tuple[str, str], Estimates]) -> str:
    header = ["forecaster", "series", "answers", "sign", "gain", "where it matters", "cosine", "error, median"]
    header += ["geometric mean", "coverage", "acted on", "by a part", "sign acted on"]
    lines = []
    for (name, series), own in told.items():
        found, gain = score(own), sign_difference(own, told[YARDSTICK, "lag"])
        interval = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
        matters = score(_matters(own)).sign
        line = [name, series, found.answered, found.sign, interval, matters, found.cosine, found.error]
        lines.append([*line, found.error_mean, found.coverage, found.act, found.act_small, found.acted_sign])
    return markdown(header, lines)


def _brief(found: Score) -> str:
    return f"{found.sign:.2f} / {found.error:.2f} / {found.coverage:.2f}"


def _matrix(told: Mapping[tuple[str, str], Estimates], groups: Mapping[str, np.ndarray]) -> str:
    """Sign, median error and coverage in each group."""
    header = ["sign / error / coverage", "series", *(f"{name} ({len(members)})" for name, members in groups.items())]
    lines = [
        [name, series, *(_brief(score(own.where(np.isin(own.case, members)))) for members in groups.values())]
        for (name, series), own in told.items()
    ]
    return markdown(header, lines)


def _labels(told: Mapping[tuple[str, str], Estimates]) -> str:
    found = {key: scores_by_label(own) for key, own in told.items()}
    labels = list(next(iter(found.values())))
    lines = [[*key, *(_brief(scores[label]) for label in labels)] for key, scores in found.items()]
    return markdown(["sign / error / coverage", "series", *labels], lines)


def _rows(told: Mapping[tuple[str, str], Estimates], groups: Mapping[str, Mapping[str, np.ndarray]]) -> list[Row]:
    """Scores of each forecaster: in all, by hyperparameter, and in each group."""
    rows = []
    for (name, series), own in told.items():
        key = {"forecaster": name, "series": series}
        rows.append({**key, "group": "all", "member": "all", **vars(score(own))})
        rows += [{**key, "group": "hyperparameter", "member": k, **vars(v)} for k, v in scores_by_label(own).items()]
        for group, members in groups.items():
            parts = {member: own.where(np.isin(own.case, numbers)) for member, numbers in members.items()}
            rows += [{**key, "group": group, "member": m, **vars(score(part))} for m, part in parts.items()]
    return rows


def _draw(told: Mapping[tuple[str, str], Estimates], figure: Any) -> None:
    """Sign accuracy against the yardstick, and stated against true uncertainty."""
    left, right = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(name for name, _ in told))
    looks = (("forward", -0.2, "tab:blue"), ("lag", 0.0, "tab:orange"), ("pooled", 0.2, "tab:green"))
    for series, shift, colour in looks:
        shown = [name for name in names if (name, series) in told]
        gains = [sign_difference(told[name, series], told[YARDSTICK, "lag"]) for name in shown]
        heights = np.array([names.index(name) for name in shown]) + shift
        middle = [gain.value for gain in gains]
        reach = [[g.value - g.low for g in gains], [g.high - g.value for g in gains]]
        left.errorbar(middle, heights, xerr=reach, fmt="o", color=colour, label=series)
        right.plot([score(told[name, series]).coverage for name in shown], heights, "o", color=colour)
    left.axvline(0, color="grey", linewidth=0.8)
    left.set_xlim(-0.15, 0.1)
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel(f"sign accuracy less that of {YARDSTICK}")
    left.legend()
    right.axvline(0.9, color="grey", linewidth=0.8)
    right.set_xlabel("coverage of 90 % intervals")


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HOME / "results" / "bed"
    publish(Study("bed", folder, smoke=False, workers=1), load_cases(folder / "cells"))
