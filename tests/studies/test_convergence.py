"""The study of convergence: its slope on errors of known rate, and what a short run finds."""

import sys

import pytest

import convergence
import error_rates
from study import study


def rows_of(rate, seeds=4, lengths=(8, 16, 32, 64)):
    return [
        {"seed": seed, "length": length, "error": (1 + seed) * length**rate, "answered": True}
        for seed in range(seeds)
        for length in lengths
    ]


@pytest.mark.parametrize("rate", [-2.0, -0.5, 0.0, 1.0])
def test_the_slope_of_a_power_law_is_its_exponent_whatever_the_scale_of_a_run(rate):
    told, low, high = error_rates.slope(rows_of(rate))
    assert told == pytest.approx(rate)
    assert (low, high) == pytest.approx((rate, rate))


def test_a_forecaster_that_mostly_abstains_has_no_slope():
    rows = rows_of(-1.0)
    for row in rows[: len(rows) // 2 + 1]:
        row.update(answered=False, error=float("nan"))
    assert error_rates.summary(rows) == "answers 44%"


def rows_of_a_page(rates, problem="calm bowl", kind="forward"):
    asked = {"problem": problem, "kind": kind, "hyper": "lr"}
    return [{**asked, "estimator": name, **row} for name, rate in rates.items() for row in rows_of(rate)]


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ({"last": -0.5, "mean": -1.0, "affine": -2.0}, "the lowest rate has `affine`, -2.0 (0.039 to 0.00061)"),
        ({"last": -0.5, "mean": -3.0, "affine": -2.0}, "the lowest rate has `mean`, -3.0 (0.0049 to 9.5e-06)"),
        ({"last": -1.0, "mean": 1.0, "affine": 0.5}, "the lowest rate has `local`, -1.0 (0.31 to 0.039)"),
    ],
)
def test_the_conclusion_names_the_lowest_rate_and_the_local_values(rates, told):
    found = convergence.found(rows_of_a_page(rates))
    assert f"*calm bowl*: for lr, {told}" in found
    assert f"the local value has {rates['last']:+.1f} (" in found


def test_the_conclusion_tells_noise_apart_and_counts_the_errors_that_fall():
    found = convergence.found(
        rows_of_a_page({"last": -1.0, "mean": -2.0}) + rows_of_a_page({"last": 1.0, "mean": -0.5}, "calm bowl, noise 1")
    )
    (calm,) = (line for line in found.splitlines() if line.startswith("- *Rates without noise*"))
    (noisy,) = (line for line in found.splitlines() if line.startswith("- *Rates with noise*"))
    assert calm.endswith("`local` -1.0 to -1.0 (1 of 1); `mean` -2.0 to -2.0 (1 of 1).")
    assert noisy.endswith("`local` +1.0 to +1.0 (0 of 1); `mean` -0.5 to -0.5 (1 of 1).")


@pytest.mark.parametrize(("delayed", "told"), [(-4.0, "1 of 1"), (-1.0, "0 of 1")])
def test_the_conclusion_counts_where_more_delays_make_a_lower_rate(delayed, told):
    found = convergence.found(rows_of_a_page({"last": 0.0, "affine": -2.0, "affine, N/3 delays": delayed}))
    assert f"lower rate than the default: `affine` without noise in {told}." in found


@pytest.mark.parametrize(("rate", "told"), [(-1.0, "in 1 of 1 cases"), (1.0, "in 0 of 1 cases")])
def test_the_conclusion_counts_lag_trajectories_that_beat_the_local_value(rate, told):
    rates = {"last": 0.0, "mean": rate}
    found = convergence.found(rows_of_a_page(rates) + rows_of_a_page(rates, kind="lag"))
    assert f"beat the local value in the end {told}" in found
    assert f"{int(rate > 0)} of 1 for lr" in found


def test_the_conclusion_says_where_the_papers_rule_abstains():
    rows = rows_of_a_page({"last": 0.0, "paper": -1.0})
    assert "answers in 100% (calm bowl): more often than not in 1 of 1 problems" in convergence.found(rows)
    for row in rows:
        row.update({} if row["estimator"] == "last" else {"answered": False, "error": float("nan")})
    assert "answers in 0% (calm bowl): more often than not in 0 of 1 problems" in convergence.found(rows)


def test_a_lag_trajectory_ends_where_the_forward_one_stands():
    (told,) = convergence.run(convergence.Cell("calm bowl, noise 1", 100, (8, 12)))
    for length in (8, 12):
        assert told["lag"][str(length)][-1] == pytest.approx(told["forward"][length - 1], rel=1e-9)


@pytest.mark.slow
def test_in_a_noiseless_bowl_the_error_falls_with_enough_delays():
    cells = [convergence.Cell("calm bowl", seed, (16, 64, 128)) for seed in (100, 101)]
    rows = convergence.estimates([row for cell in cells for row in convergence.run(cell)])
    told = {"kind": "forward", "hyper": "weight_decay"}
    delayed = error_rates.chosen(rows, estimator="affine, N/3 delays", **told)
    assert error_rates.slope(delayed)[2] < -3
    assert max(row["error"] for row in delayed if row["length"] == 128) < 1e-4
    assert error_rates.slope(error_rates.chosen(rows, estimator="last", **told))[0] > -2.5


@pytest.mark.slow
def test_the_page_of_a_short_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["convergence.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    convergence.main(study("convergence", None))
    page = (tmp_path / "README.md").read_text()
    assert page.count("| digits-linear, full batch |") == 6
    assert (tmp_path / "figure.png").exists()
