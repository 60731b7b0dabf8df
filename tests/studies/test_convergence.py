"""The study of convergence: its slope on errors of known rate, and what a short run finds."""

import sys

import pytest

import convergence
from study import study


def rows_of(rate, seeds=4, lengths=(8, 16, 32, 64)):
    return [
        {"seed": seed, "length": length, "error": (1 + seed) * length**rate, "answered": True}
        for seed in range(seeds)
        for length in lengths
    ]


@pytest.mark.parametrize("rate", [-2.0, -0.5, 0.0, 1.0])
def test_the_slope_of_a_power_law_is_its_exponent_whatever_the_scale_of_a_run(rate):
    told, low, high = convergence.slope(rows_of(rate))
    assert told == pytest.approx(rate)
    assert (low, high) == pytest.approx((rate, rate))


def test_a_forecaster_that_mostly_abstains_has_no_slope():
    rows = rows_of(-1.0)
    for row in rows[: len(rows) // 2 + 1]:
        row.update(answered=False, error=float("nan"))
    assert convergence.summary(rows) == "answers 44%"


def test_a_lag_trajectory_ends_where_the_forward_one_stands():
    (told,) = convergence.run(convergence.Cell("calm bowl, noise 1", 100, (8, 12)))
    for length in (8, 12):
        assert told["lag"][str(length)][-1] == pytest.approx(told["forward"][length - 1], rel=1e-9)


@pytest.mark.slow
def test_in_a_noiseless_bowl_the_error_falls_with_enough_delays():
    cells = [convergence.Cell("calm bowl", seed, (16, 64, 128)) for seed in (100, 101)]
    rows = convergence.estimates([row for cell in cells for row in convergence.run(cell)])
    told = {"kind": "forward", "hyper": "weight_decay"}
    delayed = convergence.chosen(rows, estimator="affine, N/3 delays", **told)
    assert convergence.slope(delayed)[2] < -3
    assert max(row["error"] for row in delayed if row["length"] == 128) < 1e-4
    assert convergence.slope(convergence.chosen(rows, estimator="last", **told))[0] > -2.5


@pytest.mark.slow
def test_the_page_of_a_short_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["convergence.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    convergence.main(study("convergence", None))
    page = (tmp_path / "README.md").read_text()
    assert page.count("| digits-linear, full batch |") == 6
    assert (tmp_path / "figure.png").exists()
