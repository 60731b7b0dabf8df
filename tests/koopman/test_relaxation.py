"""The forecast of learning curves: against a twin that inverts whole covariance matrices, and against truth."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.window import without_spikes

TEMPER, DRIFT = 0.4, 15.0


def shapes(length, horizon):
    """(over the window, at the end, prior) of each."""
    times, end = np.arange(1.0, length + 1), length + horizon
    found = [(np.exp(-times / c), math.exp(-end / c), 5 / 12 / 16) for c in np.geomspace(0.7, end, 16)]
    return found + [(times**-p, end**-p, 5 / 12 / 4) for p in (0.3, 0.6, 1.0, 2.0)]


def regressed(values, shape, end):
    """Log evidence, mean and variance of a Gaussian process with one feature, by whole covariance matrices."""
    length, center, size = len(values), shape.mean(), shape.std()
    feature, ahead = (shape - center) / size, (end - center) / size
    contrasts = np.linalg.svd(np.ones((1, length)))[2][1:]  # the level is unknown: only these tell anything
    seen, basis = contrasts @ values, contrasts @ feature
    covariance = np.eye(length - 1) + 100.0 * np.outer(basis, basis)
    degrees, scale = 1 + (length - 1) / 2, length * 1e-6 + 0.5 * seen @ np.linalg.solve(covariance, seen)
    evidence = -degrees * np.log(2 * scale) - 0.5 * np.linalg.slogdet(covariance)[1]
    gain = np.linalg.solve(covariance, 100.0 * ahead * basis)
    noise = 2 * scale / (length - 1)
    unsure = 100.0 * ahead**2 - 100.0 * ahead * basis @ gain
    return evidence, gain @ seen, noise * (0.5 + 1 / length + unsure)


def twin(series, horizon):
    """Mean and deviation of one curve."""
    length = len(series)
    values = (series - series.mean()) / series.std()
    told = [regressed(values, shape, end) for shape, end, _ in shapes(length, horizon)]
    told.append(regressed(values, np.r_[1.0, np.zeros(length - 1)], 0.0))
    left = length * (1e-6 + 0.5)  # the flat one: all the curve is noise
    flat = (-(1 + (length - 1) / 2) * np.log(2 * left), 0.0, 2 * left / (length - 1) * (0.5 + 1 / length))
    told[-1] = flat
    priors = np.array([prior for *_, prior in shapes(length, horizon)] + [1 / 6])
    evidence, means, variances = map(np.array, zip(*told, strict=True))
    zero = -series.mean() / series.std()
    means = np.maximum(means, zero) if min(series) > 0 else np.minimum(means, zero) if max(series) < 0 else means
    weights = np.exp(TEMPER * (evidence - evidence.max())) * priors
    weights /= weights.sum()
    mean = weights @ means
    variance = series.var() * (weights @ (variances + (means - mean) ** 2))
    half = series[length // 2 :]
    late = half[-(len(half) // 2) :].mean() - half[: len(half) // 2].mean()
    bends = np.diff(series[-max(4, length // 2) :], 2)
    wandering = (DRIFT * late**2 + np.mean(bends**2) / 6) * math.log1p(horizon / length)
    return series.mean() + series.std() * mean, math.sqrt(variance + wandering)


@given(st.integers(4, 30), st.integers(0, 60), st.integers(0, 2**20))
def test_it_equals_its_twin_by_covariance_matrices(length, horizon, seed):
    rng = np.random.default_rng(seed)
    series = rng.random() * np.exp(-np.arange(length) / (1 + 9 * rng.random())) + 0.05 * rng.standard_normal(length)
    assume(without_spikes(series[:, None])[1] == 0)  # which the twin does not take out
    expected = twin(series, horizon)
    told = forecaster("relaxation").forecast(series[:, None], horizon)
    assert told.mean[0] == pytest.approx(expected[0], rel=1e-6, abs=1e-9)
    assert told.deviation[0] == pytest.approx(expected[1], rel=1e-6)


@pytest.mark.parametrize("curve", [lambda t: 0.1 + np.exp(-t / 6), lambda t: 0.1 + t**-0.5])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_curve_that_has_told_its_shape_is_continued(curve, noise):
    rng = np.random.default_rng(3)
    reports = curve(np.arange(1.0, 28)) + noise * rng.standard_normal(27)
    told = forecaster("relaxation").forecast(reports[:, None], 54)
    truth = curve(81.0)
    assert abs(told.mean[0] - truth) < 0.4 * abs(reports[-1] - truth) + 0.01 + noise
    assert abs(told.mean[0] - truth) < told.deviation[0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_curve_that_never_crossed_zero_does_not_in_the_end(sign):
    reports = np.array([0.46, 0.12, 0.034, 0.0113])
    told = forecaster("relaxation").forecast(sign * reports[:, None], 5)
    assert 0 <= sign * told.mean[0] < 0.02
    assert forecaster("relaxation").forecast(reports[:, None] - 0.02, 5).mean[0] < -0.02


def test_a_young_curve_is_told_with_more_doubt_than_an_old_one():
    reports = 0.1 + np.exp(-np.arange(1.0, 82) / 8)
    doubts = [forecaster("relaxation").forecast(reports[:n, None], 81 - n).deviation[0] for n in (5, 9, 27, 60)]
    assert doubts == sorted(doubts, reverse=True)
    assert doubts[0] > 50 * doubts[-1]


def test_the_limit_is_finite_and_its_doubt_too():
    reports = 0.1 + np.exp(-np.arange(1.0, 28) / 6)
    told = forecaster("relaxation").forecast(reports[:, None], math.inf)
    assert told.mean[0] == pytest.approx(0.1, abs=0.05)
    assert math.isfinite(told.deviation[0])


@pytest.mark.parametrize("name", ["temper", "drift_share"])
def test_negative_settings_are_refused(name):
    with pytest.raises(ArgumentError, match=f"`{name}` must be at least 0; got -1"):
        forecaster("relaxation", **{name: -1})
