"""The quadratic study: its closed form against finite differences and the engines, and what a short run finds."""

import math
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


ERRORS = {"last": 2.0, "mean": 0.8, "paper": math.inf, "affine": 1.5, "ensemble": 0.3, quadratic.GLOBAL: 0.5}


def rows_of(told, noise=0.0, lag=None):
    """A row for each estimator, horizon and trajectory; errors are those told, those of lag trajectories a multiple."""
    asked = {"bowl": "calm", "noise": noise, "before": 400, "hyper": "lr", "right": True}
    rows = []
    for kind, factor in (("forward", 1.0), ("lag", lag or 2.0)):
        named = {name: error * (1.0 if name == "last" else factor) for name, error in told.items()}
        named.pop(quadratic.GLOBAL)
        rows += [
            {**asked, "kind": kind, "reach": reach, "estimator": name, "error": error * (reach > 1 or name != "last")}
            for reach in (1, 10)
            for name, error in named.items()
        ]
    exact = {"kind": "exact", "estimator": quadratic.GLOBAL, "error": told[quadratic.GLOBAL]}
    return rows + [{**asked, **exact, "reach": reach} for reach in (1, 10)]


@pytest.mark.parametrize(
    ("changed", "best", "beat"),
    [({}, "ensemble 0.3", 3), ({"mean": 0.1}, "mean 0.1", 3), ({"last": 0.2}, "local 0.2", 0)],
)
def test_the_conclusion_names_who_is_nearest_and_counts_who_beats_the_local_value(changed, best, beat):
    told = ERRORS | changed
    found = quadratic.found(rows_of(told))
    assert f"after 400 steps, noise 0*: {best.split()[0]} is nearest. {best} / 100%" in found
    assert f"Of 5 estimators {beat} beat the local value" in found
    assert f"nearest at R = 10*: calm, {best} (local {told['last']:.2g})." in found


@pytest.mark.parametrize(("mean", "times"), [(0.8, 0), (0.4, 1)])
def test_the_conclusion_counts_where_the_mean_beats_one_future(mean, times):
    found = quadratic.found(rows_of(ERRORS | {"mean": mean}, noise=1.0))
    assert "*With noise, beyond the window*: of 1 combinations of start, noise and horizon the nearest is" in found
    assert f"ensemble in 1; the plain mean beats the exact hypergradient of one future in {times}." in found
    assert "Without noise" not in found


@pytest.mark.parametrize(("lag", "better", "useful"), [(2.0, 0, 2), (0.5, 3, 3), (1.0, 0, 3)])
def test_the_conclusion_counts_where_lag_trajectories_are_better_to_forecast_from(lag, better, useful):
    found = quadratic.found(rows_of(ERRORS, lag=lag))
    assert f"*Without noise, lag trajectories* are better to forecast from than forward ones in {better} of 3" in found
    assert f"forecasts from them beat the local value in {useful}." in found


@pytest.mark.parametrize(("paper", "share"), [(math.inf, "0%"), (1.0, "100%")])
def test_the_conclusion_tells_how_often_the_papers_rule_answers(paper, share):
    found = quadratic.found(rows_of(ERRORS | {"paper": paper}))
    assert f"answers in {share} from forward trajectories, {share} from lag trajectories." in found


def test_the_conclusion_tells_how_far_off_the_local_value_is():
    assert "errs by 0 at R = 1, 2 at R = 10 windows; at R = 10 by 2 for lr." in quadratic.found(rows_of(ERRORS))
    assert "errs by 0 at R = 1, 7 at R = 10 windows" in quadratic.found(rows_of(ERRORS | {"last": 7.0}))


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
