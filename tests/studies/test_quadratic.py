"""The quadratic study: its closed form against finite differences and the engines, and what a short run finds."""

import sys

import numpy as np
import pytest

import quadratic
from noisy_quadratic import BOWLS, NAMES, NoisyQuadratic
from ray_glocal.hypergradient import global_hypergradient
from ray_glocal.hypergradient.engines.oracle import finite_differences
from study import study


@pytest.mark.parametrize("bowl", BOWLS)
def test_the_closed_form_of_one_future_is_what_the_engine_and_real_runs_find(bowl):
    quad = NoisyQuadratic(BOWLS[bowl], 0.5, 7)
    problem, noise = quad.problem(), quad.batches(50)
    for batch in noise[:20]:
        problem.advance(batch, problem.start_values())
    values = problem.start_values()
    closed = quad.realised(noise[20:], [30], noise[:20])[0]
    exact = global_hypergradient(problem, noise[20:], [None], values).derivatives[-1]
    runs = finite_differences(problem, noise[20:], [None], values, [1e-4]).derivatives[0]
    assert problem.pull_back(values, exact).numpy() == pytest.approx(closed, rel=1e-9)
    assert runs.numpy() == pytest.approx(closed, rel=1e-4, abs=1e-7)


def test_the_expected_hypergradient_is_the_mean_over_futures():
    quad = NoisyQuadratic(BOWLS["calm"], 1.0, 7)
    told = quad.batches(10)
    futures = np.array([quad.realised(told + quad.batches(30, f), [40])[0] for f in range(1, 401)])
    off = (futures.mean(0) - quad.expected(told, [40])[0]) / (futures.std(0) / len(futures) ** 0.5)
    assert np.abs(off).max() < 4


def test_without_noise_there_is_but_one_future():
    quad = NoisyQuadratic(BOWLS["wide"], 0.0, 7)
    told = quad.batches(40)
    assert quad.expected(told, [400]) == pytest.approx(quad.realised(told + quad.batches(360, 1), [400]), rel=1e-9)


@pytest.mark.slow
def test_in_a_calm_noiseless_bowl_the_ensemble_beats_the_local_value_by_far(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quadratic.py", "--smoke", "--workers", "1", "--out", str(tmp_path)])
    quadratic.main(study("quadratic", None))
    page = (tmp_path / "README.md").read_text()
    assert all(name in page for name in NAMES)
    windows = quadratic.run(quadratic.Cell("calm", 0.0, 100, (1, 10)))
    rows = quadratic.chosen(quadratic.estimates(windows), before=400, reach=10, kind="forward")
    local, glocal = (quadratic.median_error(quadratic.chosen(rows, estimator=name)) for name in ("last", "ensemble"))
    assert glocal < local / 10
    assert max(window["gap"] for window in windows) < 1e-9
