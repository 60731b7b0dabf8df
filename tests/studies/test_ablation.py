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


@pytest.mark.slow
def test_a_short_run_leaves_a_page(tmp_path):
    script = str(STUDIES / "ablation.py")
    subprocess.run([sys.executable, script, "--smoke", "--out", str(tmp_path)], check=True, timeout=280)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert {row["part"] for row in rows} == {"estimator", "session"}
    assert "## The session" in (tmp_path / "README.md").read_text()
