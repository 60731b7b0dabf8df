"""The closed-form regression against dense Gaussian distributions."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.noise import Noise
from ray_glocal.koopman.regression import Designs, regress

TIME, LEVELS = 15, np.array([0.01, 0.3, 2.0])
MEMORIES = [0.0, 0.6, 0.95, 1.0]


def covariance(memory):
    """Covariance of unit-innovation noise, written out from its definition."""
    growth = np.tril(memory ** np.abs(np.subtract.outer(np.arange(TIME), np.arange(TIME))))
    innovations = np.ones(TIME)
    innovations[0] = 100.0 if memory == 1 else 1 / (1 - memory**2)
    return growth @ np.diag(innovations) @ growth.T


def designs(random, count=4, columns=3):
    made = random.normal(size=(count, TIME, columns))
    ahead, deviations = random.normal(size=(count, columns)), random.uniform(0.5, 3, (count, columns))
    made[1, :, 2], ahead[1, 2], deviations[1, 2] = 0, 0, 0  # a design of two columns only
    return Designs(made, ahead, deviations)


@pytest.mark.parametrize("memory", MEMORIES)
def test_whitening_undoes_the_covariance(memory):
    root = Noise(memory).whiten(np.eye(TIME))
    assert np.allclose(root @ covariance(memory) @ root.T, np.eye(TIME))


@pytest.mark.parametrize("memory", MEMORIES)
def test_evidence_is_the_density_of_the_dense_gaussian(memory):
    random = np.random.default_rng(0)
    values, tried = random.normal(size=(TIME, 2)), designs(random)
    found = regress(values, tried, Noise(memory), LEVELS, 5).log_evidence
    for level, variance in enumerate(LEVELS):
        for index, (columns, deviations) in enumerate(zip(tried.columns, tried.deviations, strict=True)):
            dense = variance * covariance(memory) + columns @ np.diag(deviations**2) @ columns.T
            exact = multivariate_normal(np.zeros(TIME), dense).logpdf(values.T)
            assert np.allclose(found[level, index], exact, rtol=1e-9)


@pytest.mark.parametrize("horizon", [0, 1, 7])
@pytest.mark.parametrize("memory", MEMORIES)
def test_the_forecast_is_the_conditional_gaussian(memory, horizon):
    """Kriging: condition the joint normal of window and horizon on the window, by dense algebra."""
    random = np.random.default_rng(1)
    values, tried = random.normal(size=(TIME, 2)), designs(random)
    found = regress(values, tried, Noise(memory), LEVELS, horizon)
    kept = memory**horizon
    for level, variance in enumerate(LEVELS):
        noise = variance * covariance(memory)
        for index, (columns, deviations) in enumerate(zip(tried.columns, tried.deviations, strict=True)):
            prior, ahead = np.diag(deviations**2), tried.ahead[index]
            joint = noise + columns @ prior @ columns.T
            cross = columns @ prior @ ahead + kept * noise[-1]  # noise at the horizon: kept * last + fresh innovations
            mean = values.T @ np.linalg.solve(joint, cross)
            assert np.allclose(found.mean[level, index], mean, rtol=1e-8, atol=1e-10)
            precision = columns.T @ np.linalg.solve(noise, columns) + np.diag(1 / np.maximum(deviations, 1e-9) ** 2)
            contrast = ahead - kept * columns[-1]
            assert found.variance[level, index] == pytest.approx(contrast @ np.linalg.solve(precision, contrast))


def test_white_noise_about_a_constant_answers_the_mean_and_a_random_walk_its_last_value():
    values = np.random.default_rng(2).normal(size=(TIME, 3)) + 4
    constant = Designs(np.ones((1, TIME, 1)), np.ones((1, 1)), np.full((1, 1), 1e4))
    white, walk = (regress(values, constant, Noise(memory), LEVELS, 50).mean for memory in (0.0, 1.0))
    assert np.allclose(white, values.mean(axis=0), rtol=1e-6)
    assert np.allclose(walk, values[-1])


def test_evidence_prefers_the_memory_and_the_level_that_the_noise_has():
    random = np.random.default_rng(3)
    constant = Designs(np.ones((1, TIME, 1)), np.ones((1, 1)), np.ones((1, 1)))
    for memory in (0.0, 1.0):
        root = np.linalg.cholesky(0.3 * covariance(memory))
        values = root @ random.normal(size=(TIME, 500))
        values -= values.mean(axis=0)
        found = [regress(values, constant, Noise(m), LEVELS, 1).log_evidence.sum(axis=(1, 2)) for m in (0.0, 1.0)]
        assert np.argmax(found) == np.ravel_multi_index((int(memory), 1), (2, 3))


@pytest.mark.parametrize("memory", [-0.1, 1.1, float("nan")])
def test_a_memory_out_of_range_is_refused(memory):
    with pytest.raises(ArgumentError, match="`memory` must be between 0 and 1; got"):
        Noise(memory)
