import math

import numpy as np
import pytest

from ray_glocal.koopman.deviation import drift_variance, log_time, mean_variance, noise_variance


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
