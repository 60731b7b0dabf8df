"""Penalties from starts that are far off: sessions beside the values that they began with."""

from statistics import fmean

import pytest

import penalties
from penalties import Case, cases, run


def test_every_problem_is_trained_by_every_method_with_the_same_seeds():
    found = cases([0, 1])
    assert len(found) == len(set(found)) == 8 * 2 * len(penalties.LOSSES)
    assert {case.method for case in found} == set(penalties.LOSSES)


def test_a_case_that_is_run_twice_gives_the_same_numbers(monkeypatch):
    monkeypatch.setattr(penalties, "STEPS", 120)
    case = Case("digits", "sgd", "high", 0, "all", 0.5)
    (first,), (second,) = run(case), run(case)
    assert first == second
    assert first["observations"] > 0
    assert {"end/lr", "end/weight_decay", "end/smoothing", "end/noisy"} <= first.keys()


def test_conclusions_come_from_the_rows():
    problem = {"data": "digits", "optimizer": "sgd", "start": "low", "seed": 0, "observations": 3}
    rows = [{**problem, "method": m, "loss": loss} for m, loss in zip(penalties.LOSSES, (2, 4, 1, 1, 0.5), strict=True)]
    told = penalties.text(rows)
    assert "| digits, sgd, low | 2.000 | 4.000 | 1.000 | 1.000 | 0.500 | 3/3/3 |" in told
    assert "*rate alone, 0.1*: 2.000 of the loss with the start values" in told
    assert "*all, 0.5*: 0.250 of the loss" in told
    assert "better on 0, between 2.00 and 2.00" in told


@pytest.mark.slow
def test_on_digits_all_three_are_worth_more_than_the_rate_alone():
    """In the mean of three seeds: one of six comes to .88 of it alone."""
    alone, whole = (
        fmean(run(Case("digits", "sgd", "high", seed, adapted, 0.25))[0]["loss"] for seed in range(3))
        for adapted in ("rate", "all")
    )
    assert whole < 0.8 * alone
