"""The evidence forecaster: what it proposes, what it concludes, and what it contains as special cases."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.dmd import FORMS, eigenvalue_sets, fit_dynamics
from ray_glocal.koopman.forecasters.evidence import NOISES, mixture
from ray_glocal.koopman.noise import Noise
from ray_glocal.koopman.proposals import designs, proposals
from ray_glocal.koopman.rank import FixedRank, FullRank
from ray_glocal.koopman.regression import regress
from ray_glocal.koopman.tuning import LASTING, LEVELS, MOST, QUICK, SLOW


def centred(series):
    return (series - series.mean(axis=0)) / series.std(axis=0), series.mean(axis=0) / series.std(axis=0)


def filled(*sets):
    """Sets of eigenvalues as rows of equal length."""
    rows = np.zeros((len(sets), MOST), dtype=complex)
    for row, told in zip(rows, sets, strict=True):
        row[: len(told)] = told
    return rows


class TestProposals:
    @pytest.mark.parametrize("form", FORMS)
    def test_eigenvalues_of_several_ranks_are_those_of_the_single_fits(self, form):
        values = np.random.default_rng(0).normal(size=(30, 3)).cumsum(axis=0)
        rules = (FixedRank(1), FixedRank(4), FixedRank(4), FullRank())
        found = eigenvalue_sets(values, rules, 3, form)
        single = [fit_dynamics(values, rule, 3, form).eigenvalues for rule in (rules[0], rules[1], rules[3])]
        assert [len(each) for each in found] == [1, 4, 9]
        for ours, theirs in zip(found, single, strict=True):
            assert np.allclose(np.sort_complex(ours), np.sort_complex(theirs))

    def test_the_planted_decays_are_among_them(self, exponentials):
        planted = filled([0.95, 0.8 * np.exp(0.5j), 0.8 * np.exp(-0.5j)])[0]
        truth = exponentials([1.0, *planted[:3]], 2)
        tried, _ = proposals(*centred(truth.at(np.arange(40))))
        assert any(np.allclose(each, planted, atol=1e-6) for each in tried)

    def test_the_kinds_share_the_prior_evenly(self):
        tried, prior = proposals(*centred(np.random.default_rng(1).normal(size=(40, 3))))
        single, pairs = len(LASTING), len(QUICK) * len(SLOW)
        assert not tried[0].any()
        assert prior[0] == pytest.approx(1 / 4)
        assert prior[1 : 1 + single].sum() == pytest.approx(1 / 4)
        assert prior[1 + single : 1 + single + pairs].sum() == pytest.approx(1 / 4)
        assert prior.sum() == pytest.approx(1)

    def test_no_mode_grows_and_every_oscillation_has_its_conjugate_beside_it(self):
        pairs = 0
        for seed in range(30):
            random = np.random.default_rng(seed)
            values, offset = centred((random.normal(size=(24, 4)) * 1.3 ** np.arange(24.0)[:, None]).cumsum(axis=0))
            for each in proposals(values, offset)[0]:
                assert (np.abs(each) < 1).all()
                turning = np.flatnonzero(each.imag > 0)
                assert np.array_equal(each[turning + 1], each[turning].conj())
                assert np.count_nonzero(each.imag) == 2 * len(turning)
                pairs += len(turning)
        assert pairs

    def test_columns_are_the_real_and_imaginary_parts_of_the_powers(self):
        pair = 0.9 * np.exp(0.4j)
        made = designs(filled([0.7, pair, pair.conjugate()], []), 10, 5.0)
        times = np.arange(10.0)
        expected = np.column_stack([np.ones(10), 0.7**times, (pair**times).real, (pair**times).imag, np.zeros(10)])
        assert np.allclose(made.columns[0], expected)
        assert np.allclose(made.ahead[0], [1, 0.7**14, (pair**14).real, (pair**14).imag, 0])
        assert np.array_equal(made.columns[1], np.eye(5)[:1].repeat(10, axis=0))
        assert np.array_equal(made.deviations > 0, [[True, True, True, True, False], [True] + [False] * 4])


def test_the_mixture_is_that_of_the_dense_gaussian_posteriors():
    random = np.random.default_rng(4)
    values = random.normal(size=(12, 2)).cumsum(axis=0)
    made, noises = designs(filled([], [0.8]), 12, 3.0), (Noise(0.0), Noise(1.0))
    prior, levels = np.array([0.7, 0.3]), np.array([0.1, 1.0])
    found = [regress(values, made, noise, levels, 3) for noise in noises]
    mean, variance = mixture(found, 0.5, prior)
    for channel in range(2):
        logs, means, variances = [], [], []
        for index, noise in enumerate(noises):
            growth = np.linalg.inv(noise.whiten(np.eye(12)))
            for level, innovation in enumerate(levels):
                for design in range(2):
                    columns, deviations = made.columns[design], made.deviations[design]
                    dense = innovation * growth @ growth.T + columns @ np.diag(deviations**2) @ columns.T
                    density = multivariate_normal(np.zeros(12), dense).logpdf(values[:, channel])
                    logs.append(0.5 * density + np.log(prior[design]))
                    means.append(found[index].mean[level, design, channel])
                    variances.append(found[index].variance[level, design])
        weights = np.exp(np.array(logs) - logsumexp(logs))
        assert mean[channel] == pytest.approx(weights @ means)
        expected = weights @ (np.array(variances) + (np.array(means) - mean[channel]) ** 2)
        assert variance[channel] == pytest.approx(expected)


class TestSpecialCases:
    @pytest.mark.parametrize("channels", [1, 3, 1000])
    @pytest.mark.parametrize("horizon", [1, 40, 400, math.inf])
    def test_noise_free_decays_are_met(self, exponentials, channels, horizon):
        truth = exponentials([1.0, 0.9, 0.7], channels, seed=2)
        mean = forecaster("evidence").forecast(truth.at(np.arange(40)), horizon).mean
        expected = truth.limit if math.isinf(horizon) else truth.at(39 + horizon)[0]
        assert np.max(np.abs(mean - expected)) < 2e-3 * np.max(np.abs(expected))

    def test_white_noise_about_a_constant_leaves_about_its_mean(self):
        series = 5 + np.random.default_rng(0).normal(size=(60, 12))
        far = forecaster("evidence").forecast(series, 600).mean
        assert np.sqrt(np.mean((far - series.mean(axis=0)) ** 2)) < 0.4  # a single snapshot is off by one

    def test_a_random_walk_leaves_about_its_last_value(self):
        walk = np.random.default_rng(1).normal(size=(60, 12)).cumsum(axis=0)
        found = forecaster("evidence").forecast(walk, 5).mean
        assert np.sqrt(np.mean((found - walk[-1]) ** 2)) < 1.0
        assert np.sqrt(np.mean((walk.mean(axis=0) - walk[-1]) ** 2)) > 2.0

    def test_autoregressive_noise_does_not_pass_for_a_decay(self):
        random = np.random.default_rng(2)
        noise = np.zeros((60, 40))
        for time in range(1, 60):
            noise[time] = 0.7 * noise[time - 1] + random.normal(size=40)
        series = 3 + noise
        errors = [forecaster(name).forecast(series, 300).mean - 3 for name in ("evidence", "last")]
        ours, last = (np.sqrt(np.mean(error**2)) for error in errors)
        assert ours < 0.7 * last

    def test_what_cannot_be_decomposed_still_gets_an_answer(self, monkeypatch):
        def fail(matrix):
            raise np.linalg.LinAlgError("Eigenvalues did not converge")

        monkeypatch.setattr(np.linalg, "eigvals", fail)
        series = 2 + np.exp(-np.arange(30.0) / 10)[:, None]
        assert forecaster("evidence").forecast(series, math.inf).mean[0] == pytest.approx(2, abs=0.3)


def test_the_models_range_from_white_noise_to_a_random_walk_and_from_exact_to_noise_alone():
    assert {noise.memory for noise in NOISES} >= {0.0, 1.0}
    assert LEVELS.max() == 1.0
    assert LEVELS.min() < 1e-6


@pytest.mark.parametrize("name", ["temper", "noise_share", "walk_share", "drift_share"])
def test_negative_settings_are_refused(name):
    with pytest.raises(ArgumentError, match=f"`{name}` must be at least 0; got -1"):
        forecaster("evidence", **{name: -1})
