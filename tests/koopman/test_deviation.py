import math

import numpy as np
import pytest

from ray_glocal.koopman.deviation import (
    drift_variance,
    log_time,
    mean_variance,
    noise_variance,
    walk_variance,
    window_variance,
)


def autoregressive(memory, length, channels):
    random = np.random.default_rng(0)
    series = np.zeros((length, channels))
    for time in range(1, length):
        series[time] = memory * series[time - 1] + random.normal(size=channels)
    return series


def test_noise_variance_is_that_of_the_noise_whatever_the_trend():
    noise = 0.3 * np.random.default_rng(0).normal(size=(2000, 3))
    assert np.allclose(noise_variance(noise + 7 * np.arange(2000.0)[:, None]), 0.09, rtol=0.15)


def test_drift_of_a_straight_line_is_its_change_over_the_window():
    assert np.allclose(drift_variance(0.5 * np.arange(40.0)[:, None]), 20**2)


def test_drift_of_a_random_walk_is_about_its_spread_over_the_window():
    walks = np.random.default_rng(0).normal(size=(400, 2000)).cumsum(axis=0)
    assert 0.5 * 400 < np.mean(drift_variance(walks)) < 1.5 * 400


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.8])
def test_variance_of_a_mean_counts_correlation_as_the_closed_form_does(memory):
    series = autoregressive(memory, 2000, 400)
    exact = 1 / (1 - memory) ** 2 / 2000
    assert np.median(mean_variance(series)) == pytest.approx(exact, rel=0.1)
    assert np.var(series.mean(axis=0)) == pytest.approx(exact, rel=0.25)  # and the means do scatter so


def test_variance_of_a_mean_never_counts_fewer_than_one_value():
    series = np.arange(10.0)[:, None]
    assert mean_variance(series)[0] <= np.var(series, ddof=1)


def test_log_time_grows_with_the_logarithm_and_ends():
    assert log_time(30, 10) == pytest.approx(math.log(4))
    assert log_time(0, 10) == 0
    assert log_time(math.inf, 10) == pytest.approx(math.log(1001))


def test_walk_variance_is_that_of_the_sum_of_increments():
    increments = 0.3 * np.random.default_rng(0).normal(size=(41, 4000))
    assert np.mean(walk_variance(increments.cumsum(axis=0) + np.arange(41.0)[:, None])) == pytest.approx(
        40 * 0.09, rel=0.1
    )


@pytest.mark.parametrize("length", [4, 5, 16, 41])
def test_walk_variance_does_not_see_a_trend(length):
    assert walk_variance(7.0 * np.arange(float(length))[:, None])[0] < 1e-18


def test_walk_variance_does_not_see_an_even_bend():
    assert walk_variance(np.arange(41.0)[:, None] ** 2)[0] < 1e-18


def test_the_variance_from_one_snapshot_is_its_noise_and_the_drift_in_log_time():
    series = np.random.default_rng(1).normal(size=(40, 3)).cumsum(axis=0)
    assert np.allclose(window_variance(series, 0), noise_variance(series))
    beyond = window_variance(series, 40 * (math.e - 1)) - noise_variance(series)
    assert np.allclose(beyond, drift_variance(series))
