"""The classical sequence transforms and the damped trend against their closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extrapolation import ReducedRank, Shanks, Trend, estimator
from extrapolation.shrinkage import shrunk
from extrapolation.trend import FADES, damped_lines
from ray_glocal.errors import ArgumentError


def aitken(sequence):
    """Aitken's delta-squared process on the last three numbers, as textbooks write it."""
    x, y, z = sequence[-3:]
    return (x * z - y**2) / (x - 2 * y + z)


class TestShanks:
    @given(st.floats(0.4, 0.985), st.floats(-9, 9), st.floats(0.1, 5), st.sampled_from([9, 12, 30, 40]))
    @settings(max_examples=60, deadline=None)
    def test_a_constant_and_one_decay_are_met_at_every_horizon(self, ratio, constant, size, length):
        times = np.arange(float(length))
        series = (constant + size * ratio**times)[:, None]
        for horizon in (0, 1, 17, 400):
            expected = constant + size * ratio ** (length - 1 + horizon)
            met = Shanks().forecast(series, horizon).mean[0]
            assert met == pytest.approx(expected, abs=1e-7 * (abs(constant) + size))

    def test_at_infinity_it_is_aitkens_process_of_the_block_means(self):
        random = np.random.default_rng(0)
        for _ in range(20):
            series = 1 + 2 * 0.93 ** np.arange(30.0) + 0.01 * random.normal(size=30)
            expected = aitken(series.reshape(3, 10).mean(axis=1))
            assert Shanks().forecast(series[:, None], math.inf).mean[0] == pytest.approx(expected)

    def test_growth_is_taken_for_a_trend_that_fades_within_ten_windows(self):
        wiggle = 0.05 * (-1) ** np.arange(30)  # leaves the means of the blocks alone
        series = (1.01 ** np.arange(30.0) + wiggle)[:, None]
        limit = Shanks().forecast(series, math.inf).mean[0]
        first, second, third = series.reshape(3, 10).mean(axis=1)
        ratio = np.exp(-1 / 300) ** 10
        assert limit == pytest.approx(third + (third - second) * ratio / (1 - ratio))
        assert third - second > second - first  # it does grow

    @pytest.mark.parametrize("horizon", [5, math.inf])
    def test_steps_that_turn_or_drown_in_noise_leave_the_last_block(self, horizon):
        turning = np.repeat([0.0, 1.0, 0.2], 10)[:, None] + 1e-6 * np.arange(30.0)[:, None] % 2
        noise = np.random.default_rng(4).normal(size=(30, 8))
        for series in (turning, noise):
            assert np.allclose(Shanks().forecast(series, horizon).mean, series[20:].mean(axis=0))


class TestReducedRank:
    @pytest.mark.parametrize("channels", [1, 3, 50])
    @pytest.mark.parametrize("decays", [[0.9], [0.9, 0.6], [0.95, 0.8 * np.exp(0.6j), 0.8 * np.exp(-0.6j)]])
    def test_a_linear_recurrence_of_its_order_is_exact(self, decays, channels):
        rng = np.random.default_rng(3)
        sizes = rng.uniform(0.5, 1.5, (len(decays), channels)) * np.exp(
            1j * rng.uniform(0, 0.5, (len(decays), channels))
        )
        limit = rng.normal(size=channels)
        series = limit + (np.array(decays)[None] ** np.arange(24)[:, None] @ sizes).real
        found = ReducedRank(len(decays)).forecast(series, math.inf)
        assert np.allclose(found.mean, limit, rtol=1e-7, atol=1e-7)

    def test_one_term_of_three_snapshots_is_aitkens_process(self):
        """With a single equation least squares is an interpolation; four snapshots on one decay keep it so."""
        series = 3 - 2 * 0.8 ** np.arange(4.0)
        assert ReducedRank(1).forecast(series[:, None], 0).mean[0] == pytest.approx(aitken(series))

    def test_the_fixed_point_of_a_linear_map_is_found_from_its_iterates(self):
        random = np.random.default_rng(1)
        operator = 0.6 * np.linalg.qr(random.normal(size=(3, 3)))[0]
        offset, state, states = random.normal(size=3), random.normal(size=3), []
        for _ in range(30):
            states.append(state)
            state = operator @ state + offset
        fixed = np.linalg.solve(np.eye(3) - operator, offset)
        assert np.allclose(ReducedRank().forecast(np.array(states), math.inf).mean, fixed, atol=1e-6)

    @pytest.mark.parametrize("terms", [0, 1.5, None])
    def test_terms_out_of_range_are_refused(self, terms):
        with pytest.raises(ArgumentError, match="`terms` must be a whole number of at least 1; got"):
            ReducedRank(terms)


class TestTrend:
    def test_each_damped_line_is_its_sum_term_by_term(self):
        series = 2 + 0.3 * np.arange(12.0)[:, None]
        found = damped_lines(series, np.array([0.0, 1.0, 7.0]))[:, :, 0]
        assert np.allclose(found[0], series[6:].mean())
        for fade, path in zip(FADES[1:], found[1:], strict=True):
            factor = np.exp(-1 / (fade * 12))
            for steps, value in zip((0, 1, 7), path, strict=True):
                assert value == pytest.approx(series[-1, 0] + 0.3 * sum(factor**i for i in range(1, steps + 1)))

    def test_a_straight_line_is_followed_and_has_a_limit(self):
        series = 0.5 * np.arange(40.0)[:, None]
        found = [Trend().forecast(series, horizon).mean[0] for horizon in (0, 10, math.inf)]
        factor = np.exp(-1 / (FADES[-1] * 40))
        assert found[0] == pytest.approx(19.5)
        assert found[1] == pytest.approx(24.5, rel=0.02)
        assert found[2] == pytest.approx(19.5 + 0.5 * factor / (1 - factor))

    def test_noise_about_a_constant_leaves_near_its_mean(self):
        series = 5 + np.random.default_rng(0).normal(size=(40, 200))
        far = Trend().forecast(series, 1000).mean
        assert np.median(np.abs(far - 5)) < 0.5


class TestLevel:
    def test_it_is_the_mean_times_the_share_of_signal(self):
        series = np.random.default_rng(2).normal(size=(40, 6)) + np.arange(6.0)
        mean, level = (estimator(name).forecast(series, 100) for name in ("mean", "level"))
        ratio = np.abs(mean.mean) / mean.deviation
        assert np.allclose(level.mean, mean.mean * ratio**2 / (1 + ratio**2))
        assert np.array_equal(level.deviation, mean.deviation)

    @given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
    def test_shrinking_keeps_the_sign_and_never_adds(self, mean, deviation):
        value = shrunk(np.array([mean]), np.array([deviation]))[0]
        assert 0 <= value * np.sign(mean) <= abs(mean)
        if deviation == 0:
            assert value == pytest.approx(mean)

    def test_at_one_deviation_half_is_left(self):
        assert shrunk(np.array([-4.0, 0.0]), np.array([4.0, 0.0])).tolist() == [-2.0, 0.0]


@pytest.mark.parametrize("name", ["trend", "shanks", "rre"])
@given(st.integers(0, 2**32), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_shifting_the_series_shifts_the_answer(name, seed, shift):
    rng = np.random.default_rng(seed)
    series = 0.9 ** np.arange(24.0)[:, None] + 0.05 * rng.normal(size=(24, 2))
    plain, shifted = (estimator(name).forecast(values, 50) for values in (series, series + shift))
    np.testing.assert_allclose(shifted.mean, plain.mean + shift, atol=1e-7)
    np.testing.assert_allclose(shifted.deviation, plain.deviation, atol=1e-7)
