"""The ablation study: a larger dictionary sees what a linear one cannot, and a short run of the whole."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

import ablation
from ablation import Lifted, fewer, shortened
from cases import load_cases
from energy import EnergyRank
from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.forecasters.affine import Affine

from .conftest import STUDIES


def quadratic_map(steps):
    """x' = .9 x, y' = .5 y + (.5 - .81) x^2, whose Koopman operator is closed under x, y and x^2."""
    states = [(1.0, 0.3)]
    while len(states) < steps:
        x, y = states[-1]
        states.append((0.9 * x, 0.5 * y - 0.31 * x * x))
    return np.array(states)


def test_squares_close_a_system_that_is_linear_in_them():
    series = quadratic_map(60)
    told = Lifted(Affine(rank=3, delays=1), lambda scaled: scaled[:, :1] ** 2).forecast(series[:20], 10)
    assert told.mean.shape == told.deviation.shape == (2,)
    assert told.mean == pytest.approx(series[29], abs=2e-3)
    plain = Affine(rank=2, delays=1).forecast(series[:20], 10)
    assert np.abs(told.mean - series[29]).max() < np.abs(plain.mean - series[29]).max()


def test_less_of_a_case_keeps_its_truth():
    case = next(case for case in load_cases(ablation.BED) if len(case.earlier) == 3)
    short = shortened(case, 10)
    assert (len(short.forward), len(short.lag)) == (10, 10)
    assert short.horizon == case.horizon + len(case.lag) - 10
    for windows in (1, 2, 4):
        assert len(fewer(case, windows).earlier) == windows - 1
        assert fewer(case, windows).earlier_starts == case.earlier_starts[4 - windows :]
    assert np.array_equal(fewer(short, 2).truth, case.truth)


def test_energy_rank_keeps_the_fewest_directions_that_hold_the_share():
    values = np.sqrt([6.0, 3.0, 1.0])
    assert [EnergyRank(share).choose(values, (3, 3)) for share in (0.5, 0.6001, 0.9001, 1.0)] == [1, 2, 3, 3]


@pytest.mark.parametrize("share", [0.0, 1.1, float("nan")])
def test_an_energy_share_out_of_range_is_refused(share):
    with pytest.raises(ArgumentError, match="`share` must be above 0 and at most 1; got"):
        EnergyRank(share)


def scored(choice, value, sign, error):
    return {"part": "estimator", "choice": choice, "value": value, "sign": sign, "error": error, "coverage": 0.9}


def trained(choice, value, *tests):
    return [
        {"part": "session", "choice": choice, "value": value, "task": "a", "lr": 0.1, "seed": seed, "test": test}
        for seed, test in enumerate(tests)
    ]


def told_of(rows, beginning):
    (line,) = (line for line in ablation.found(rows).splitlines() if line.startswith(f"- *{beginning}"))
    return line


@pytest.mark.parametrize(("short", "long"), [(0.8, 0.9), (0.9, 0.8)])
def test_the_window_of_the_most_right_signs_is_read_from_the_rows(short, long):
    rows = [scored("window, `last`", "5 steps", short, 0.5), scored("window, `last`", "40 steps", long, 0.25)]
    ends = {short: "5 steps", long: "40 steps"}
    said = told_of(rows, "Window*")
    assert f"right signs from 0.800 ({ends[0.8]}) to 0.900 ({ends[0.9]})" in said
    assert "median errors from 0.250 (40 steps) to 0.500 (5 steps)." in said
    assert f"at 40 steps: `last` {long:.3f} right signs" in told_of(rows, "The forecaster of an estimate")


@pytest.mark.parametrize(("sign", "error", "beaten"), [(0.7, 0.5, (0, 0)), (0.9, 0.5, (1, 0)), (0.9, 0.3, (1, 1))])
def test_larger_dictionaries_that_do_better_are_counted(sign, error, beaten):
    rows = [
        scored("dictionary, `affine`", "the series", 0.8, 0.4),
        scored("dictionary, `affine`", "and squares", sign, error),
        scored("dictionary, `affine`", "and products", 0.75, 0.6),
    ]
    told = f"(the series) 0.800 and 0.400, with more right signs in {beaten[0]} and a smaller error in {beaten[1]} of"
    assert f"{told} the 2 others" in told_of(rows, "Dictionary*")


@pytest.mark.parametrize(
    ("tests", "beginning", "ratio"),
    [
        ((2.2, 4.0, 8.4), "Changes that make a session worse", "2.098"),
        ((0.5, 1.0, 2.1), "Changes that make it better", "0.508"),
        ((0.5, 2.0, 8.0), "Changes that cannot be told", "1.000"),
    ],
)
def test_a_change_of_the_session_is_judged_by_its_interval(tests, beginning, ratio):
    default = trained("default", "", 1.0, 2.0, 4.0)
    rows = [*default, *trained("gate", "wide", *tests), *trained("gate", "same", 1.0, 2.0, 4.0)]
    assert f"gate: wide {ratio} ± " in told_of(rows, beginning)
    assert ablation.found(rows).count("gate: wide") == 1
    assert "gate: same 1.000 ± 0.000" in told_of(rows, "Changes that cannot be told")


def test_a_single_run_tells_nothing_of_a_change():
    rows = [*trained("default", "", 1.0), *trained("gate", "wide", 3.0)]
    assert "gate: wide 3.000 ± nan" in told_of(rows, "Changes that cannot be told")
    assert told_of(rows, "Changes that make a session worse").endswith(": none.")


@pytest.mark.slow
def test_a_short_run_leaves_a_page(tmp_path):
    script = str(STUDIES / "ablation.py")
    subprocess.run([sys.executable, script, "--smoke", "--out", str(tmp_path)], check=True, timeout=280)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert {row["part"] for row in rows} == {"estimator", "session"}
    page = (tmp_path / "README.md").read_text()
    assert "## The session" in page
    assert ablation.found(rows) in page
