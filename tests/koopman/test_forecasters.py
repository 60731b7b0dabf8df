import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Kind
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.forecasters import FORECASTERS
from ray_glocal.koopman.forecasters.answer import Answer, WindowForecaster
from ray_glocal.koopman.forecasters.candidates import candidate_paths, framed
from ray_glocal.koopman.forecasters.candidates import settings as decompositions
from ray_glocal.koopman.rank import FixedRank
from ray_glocal.koopman.spectrum import Spectrum

NAMES = list(FORECASTERS)
FITTED = ["paper", "increment", "affine"]
every = pytest.mark.parametrize("name", NAMES)


def noisy_decays(seed, length=30, channels=3, noise=0.05):
    random = np.random.default_rng(seed)
    times = np.arange(length)[:, None]
    decay = np.exp(-times / random.uniform(3, 30, channels)) * random.normal(size=channels)
    return random.normal(size=channels) + decay + noise * random.normal(size=(length, channels))


class TestContract:
    """What every forecaster promises, run over all that are registered."""

    @every
    @pytest.mark.parametrize("horizon", [0, 1, 30, 1000, math.inf])
    @pytest.mark.parametrize("shape", [(8, 1), (30, 3), (12, 40)])
    def test_answers_have_shape_horizon_and_sense(self, name, shape, horizon):
        forecast = forecaster(name).forecast(noisy_decays(1, *shape), horizon)
        assert forecast.mean.shape == forecast.deviation.shape == (shape[1],)
        assert forecast.horizon == horizon
        if forecast.outcome.usable:
            assert np.isfinite(forecast.mean).all()
            assert (forecast.deviation > 0).all()
            assert np.isfinite(forecast.deviation).all()
        else:
            assert name == "paper"
            assert forecast.outcome.kind is Kind.UNDETERMINED

    @every
    @given(
        st.lists(
            st.lists(
                st.one_of(
                    st.floats(allow_nan=True, allow_infinity=True),
                    st.sampled_from([0.0, 1.0, 1e-300, 5e-324, 1e300, 1e150, -1e149]),
                    st.floats(-2, 2),
                ),
                min_size=2,
                max_size=2,
            ),
            max_size=14,
        ),
        st.one_of(st.floats(0, 1e6), st.sampled_from([0, 0.5, math.inf, 1e300])),
    )
    @settings(max_examples=120, deadline=None)
    def test_any_numbers_give_usable_values_or_nothing_and_never_a_warning(self, name, rows, horizon):
        forecast = forecaster(name).forecast(np.array(rows, float).reshape(-1, 2), horizon)
        finite = np.isfinite(forecast.mean) & np.isfinite(forecast.deviation)
        nothing = np.isnan(forecast.mean) & np.isnan(forecast.deviation)
        assert (finite if forecast.outcome.usable else nothing).all()
        assert (forecast.deviation[finite] >= 0).all()
        assert forecast.outcome.sentence.endswith(".")

    @every
    @given(st.integers(0, 2**32), st.sampled_from([-1, 0, 3, 60]), st.sampled_from([0, 5, 200, math.inf]))
    @settings(max_examples=25, deadline=None)
    def test_scaling_and_permuting_channels_scales_and_permutes_the_answer(self, name, seed, power, horizon):
        series = noisy_decays(seed)
        factors = np.array([2.0, -1.0, 0.25]) * 10.0**power
        order = [2, 0, 1]
        plain = forecaster(name).forecast(series, horizon)
        changed = forecaster(name).forecast((series * factors)[:, order], horizon)
        assert changed.outcome.kind is plain.outcome.kind
        assert np.allclose(changed.mean / factors[order], plain.mean[order], rtol=1e-5, atol=1e-7, equal_nan=True)
        deviation = changed.deviation / np.abs(factors[order])
        assert np.allclose(deviation, plain.deviation[order], rtol=1e-5, atol=1e-7, equal_nan=True)

    @pytest.mark.parametrize("name", ["last", "mean", "affine", "increment"])
    @given(st.integers(0, 2**32), st.floats(-50, 50))
    @settings(max_examples=25, deadline=None)
    def test_shifting_the_series_shifts_the_answer(self, name, seed, shift):
        series = noisy_decays(seed)
        plain, shifted = (forecaster(name).forecast(values, 50) for values in (series, series + shift))
        assert np.allclose(shifted.mean, plain.mean + shift, atol=1e-7)
        assert np.allclose(shifted.deviation, plain.deviation, atol=1e-7)

    @every
    def test_the_same_window_gives_the_same_bits_and_stays_as_it_was(self, name):
        series = noisy_decays(3, 40, 3)
        before = series.copy()
        first, second = (forecaster(name).forecast(series, 77) for _ in range(2))
        assert first.mean.tobytes() == second.mean.tobytes()
        assert first.deviation.tobytes() == second.deviation.tobytes()
        assert np.array_equal(series, before)

    @every
    def test_a_constant_window_is_forecast_as_it_is(self, name):
        for value in (0.0, 3.5, 1e-300, -1e140):
            forecast = forecaster(name).forecast(np.full((20, 2), value), 100)
            assert forecast.outcome.kind is Kind.CONSTANT
            assert np.array_equal(forecast.mean, [value, value])
            assert np.array_equal(forecast.deviation, [0, 0])

    @every
    def test_trouble_is_told_by_kind_and_sentence(self, name):
        spoiled = noisy_decays(0)
        spoiled[-1, 2] = np.inf
        told = {
            Kind.SHORT: (noisy_decays(0)[:3], "3 snapshots are too few"),
            Kind.NONFINITE: (spoiled, "Snapshot 29 of channel 2 is inf"),
            Kind.HUGE: (noisy_decays(0) * 1e300, "overflow when squared"),
        }
        for kind, (series, sentence) in told.items():
            forecast = forecaster(name).forecast(series, 10)
            assert forecast.outcome.kind is kind
            assert sentence in forecast.outcome.sentence
            assert np.isnan(forecast.mean).all()

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "paper"])
    @pytest.mark.parametrize("length", [4, 5, 6, 7])
    def test_few_snapshots_give_a_weak_answer(self, name, length):
        forecast = forecaster(name).forecast(noisy_decays(0, length), 10)
        assert forecast.outcome.kind is Kind.WEAK
        assert np.isfinite(forecast.mean).all()

    @every
    def test_ten_thousand_channels_are_answered(self, name):
        series = noisy_decays(5, 40, 10_000, noise=0.01)
        forecast = forecaster(name).forecast(series, 100)
        assert forecast.mean.shape == (10_000,)
        assert forecast.outcome.usable or name == "paper"

    @every
    @pytest.mark.parametrize("place", [0, 20, 39])
    def test_a_spike_of_twenty_deviations_ruins_nothing(self, name, place):
        harm = []
        for seed in range(20):
            series = noisy_decays(seed, 40, 2)
            spiked = series.copy()
            spiked[place] += 20 * 0.05
            calm, shaken = (forecaster(name).forecast(values, 20) for values in (series, spiked))
            if calm.outcome.usable and shaken.outcome.usable:
                harm.extend(np.abs(shaken.mean - calm.mean) / calm.deviation)
        assert np.median(harm) < 0.5
        assert np.mean(np.array(harm) < 2) > 0.9

    @every
    def test_a_spike_is_told_in_the_sentence(self, name):
        series = noisy_decays(0)
        series[12, 1] += 50
        assert "Spikes replaced" in forecaster(name).forecast(series, 5).outcome.sentence

    @every
    def test_forecasters_travel_between_processes_and_compare_by_value(self, name):
        made = forecaster(name)
        assert pickle.loads(pickle.dumps(made)) == made
        with pytest.raises(AttributeError):
            made.anything = 1

    @every
    @pytest.mark.parametrize("bad", [-1, float("nan"), "far"])
    def test_a_bad_horizon_is_refused(self, name, bad):
        with pytest.raises(ArgumentError, match=r"`horizon` must be a number of steps from 0 to math\.inf; got"):
            forecaster(name).forecast(noisy_decays(0), bad)

    @every
    def test_a_bad_series_is_refused(self, name):
        with pytest.raises(ArgumentError, match=r"`series` must have shape \[time, channel\]"):
            forecaster(name).forecast(np.zeros(9), 1)

    @every
    def test_tiny_windows_are_forecast_like_any_other(self, name):
        series = noisy_decays(2)
        large, tiny = (forecaster(name).forecast(factor * series, 30) for factor in (1.0, 2.0**-990))
        assert np.allclose(tiny.mean * 2.0**990, large.mean, rtol=1e-6, equal_nan=True)
        assert np.allclose(tiny.deviation * 2.0**990, large.deviation, rtol=1e-6, equal_nan=True)


class TestExactness:
    @pytest.mark.parametrize("channels", [1, 3, 1000])
    @pytest.mark.parametrize("name", ["increment", "affine", "ensemble"])
    @pytest.mark.parametrize("horizon", [1, 40, 400, math.inf])
    def test_noise_free_decays_are_met(self, exponentials, name, channels, horizon):
        truth = exponentials([1.0, 0.9, 0.7], channels, seed=2)
        mean = forecaster(name).forecast(truth.at(np.arange(40)), horizon).mean
        expected = truth.limit if math.isinf(horizon) else truth.at(39 + horizon)[0]
        assert np.max(np.abs(mean - expected)) < 1e-6 * np.max(np.abs(expected))

    def test_the_papers_rule_finds_the_steady_part(self, exponentials):
        truth = exponentials([1.0, 0.9, 0.7], 3, seed=2)
        forecast = forecaster("paper", tolerance=1e-3).forecast(truth.at(np.arange(40)), 17)
        assert np.allclose(forecast.mean, truth.limit, rtol=1e-6)

    def test_the_papers_rule_abstains_where_no_eigenvalue_is_one(self, exponentials):
        forecast = forecaster("paper").forecast(exponentials([0.9, 0.7], 3).at(np.arange(40)), 17)
        assert forecast.outcome.kind is Kind.UNDETERMINED
        assert "No eigenvalue is near enough to one, the nearest is 0.9" in forecast.outcome.sentence

    def test_last_and_mean_are_what_their_names_say(self):
        series = noisy_decays(0)
        assert np.array_equal(forecaster("last").forecast(series, 50).mean, series[-1])
        assert np.allclose(forecaster("mean").forecast(series, 50).mean, series[15:].mean(axis=0))

    def test_spectra_are_tabulated_as_the_forecast_treats_them(self, exponentials):
        series = exponentials([1.0, 0.9, 0.7], 3).at(np.arange(40))
        for name in FITTED:
            table = forecaster(name).spectrum(series)
            assert isinstance(table, Spectrum)
            assert [mode.kept for mode in table.modes].count(False) == (2 if name == "paper" else 0)
        assert forecaster("paper").spectrum(series[:2]).modes == ()


def wandering(random, length, ahead):
    walk = random.normal(size=(length + ahead, 1)).cumsum(axis=0)
    return walk[:length] + 0.5 * random.normal(size=(length, 1)), walk[-1]


def decaying(random, length, ahead):
    times = np.arange(length + ahead)[:, None]
    clean = random.normal() + sum(
        random.normal() * np.exp(-times / (length * 10 ** random.uniform(-1, 0.7))) for _ in "123"
    )
    return clean[:length] + 0.2 * np.std(clean[:length]) * random.normal(size=(length, 1)), clean[-1]


def autoregressive(random, length, ahead):
    times = np.arange(length + ahead)[:, None]
    clean = 0.5 * random.normal() + np.exp(-times / (length * 10 ** random.uniform(-1, 0.7))) * random.normal()
    noise, memory = np.zeros((length, 1)), random.uniform(0.3, 0.9)
    for time in range(1, length):
        noise[time] = memory * noise[time - 1] + 0.3 * random.normal()
    return clean[:length] + noise, clean[-1]


def quadratic(random, length, ahead):
    """Hypergradient of a noisy quadratic in log lr, its tangent carried along, and its value further ahead."""
    curvature, rate, noise = (
        10 ** random.uniform(-2, 0, 20),
        10 ** random.uniform(-1.5, -0.3),
        random.choice([0.02, 0.3]),
    )
    parameters, tangent, values = 3 * random.normal(size=20), np.zeros(20), []
    optimum = 0.3 * random.normal(size=20)
    for _ in range(length + ahead):
        gradient = curvature * parameters + noise * np.sqrt(curvature) * random.normal(size=20)
        tangent = tangent - rate * (curvature * tangent + gradient)
        parameters = parameters - rate * gradient
        values.append(tangent @ (curvature * (parameters - optimum)))
    series = np.array(values)[:, None]
    return series[:length], series[-1]


FAMILIES = (wandering, decaying, autoregressive, quadratic)


def cases(family, count=120):
    for seed in range(count):
        random = np.random.default_rng([seed, FAMILIES.index(family)])
        length = int(random.choice([10, 20, 40, 100]))
        ahead = int(length * random.choice([0.5, 1, 3] if family is wandering else [0.5, 1, 3, 10]))
        yield (*family(random, length, ahead), ahead)


def scores(name, family):
    """Errors, and whether the nominal 90 % interval held the truth, over the cases of a family."""
    made = forecaster(name)
    pairs = [(made.forecast(series, ahead), truth) for series, truth, ahead in cases(family)]
    errors = np.array([abs(forecast.mean - truth)[0] / (abs(truth[0]) + 1e-9) for forecast, truth in pairs])
    held = [abs(forecast.mean - truth)[0] <= 1.645 * forecast.deviation[0] for forecast, truth in pairs]
    return np.exp(np.mean(np.log(errors + 1e-6))), np.mean(held)


class TestCalibration:
    @pytest.mark.parametrize("name", [name for name in NAMES if name != "paper"])
    def test_nominal_90_percent_intervals_hold_about_90_percent(self, name):
        held = [scores(name, family)[1] for family in FAMILIES]
        assert 0.82 < np.mean(held) < 0.97, held
        assert min(held) > 0.5, held

    @pytest.mark.parametrize("family", [decaying, autoregressive, quadratic])
    def test_the_ensemble_is_nearer_than_the_last_value_where_there_are_dynamics(self, family):
        assert scores("ensemble", family)[0] < 0.85 * scores("last", family)[0]

    def test_the_ensemble_does_not_lose_to_the_last_value_on_a_random_walk(self):
        assert scores("ensemble", wandering)[0] < 1.15 * scores("last", wandering)[0]

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "paper"])
    def test_deviations_grow_with_the_horizon_and_stay_finite(self, name):
        series = noisy_decays(7)
        deviations = [forecaster(name).forecast(series, horizon).deviation for horizon in (1, 10, 100, 1e6, math.inf)]
        if name not in ("ensemble", "evidence"):  # averages narrow where their parts decay towards one another
            assert (np.diff(deviations, axis=0) >= 0).all()
        assert np.isfinite(deviations).all()

    def test_averaging_white_noise_narrows_the_mean_as_the_root_of_the_count(self):
        series = np.random.default_rng(0).normal(size=(4000, 50))
        deviation = np.median(forecaster("mean").forecast(series, 0).deviation)
        assert 1 / np.sqrt(2000) < deviation < 3 / np.sqrt(2000)  # what noise could hide of a drift is left in


class TestRegistry:
    def test_options_reach_the_forecaster(self):
        assert forecaster("affine", delays=2, rank=3).rank == 3
        assert forecaster("increment", rank=FixedRank(2)).rank == FixedRank(2)

    @pytest.mark.parametrize("name", FITTED)
    def test_too_many_delays_are_lowered_to_what_the_window_allows(self, name):
        assert forecaster(name, delays=50, rank=2).spectrum(noisy_decays(0, 9)).outcome.usable

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ArgumentError, match=r"`name` must be one of last, mean, .*, evidence; got 'oracle'"):
            forecaster("oracle")

    def test_unknown_options_are_refused(self):
        with pytest.raises(ArgumentError, match="`options` must be among rank, delays for 'affine'; got 'window'"):
            forecaster("affine", window=3)
        with pytest.raises(ArgumentError, match="`options` must be empty for 'last'; got 'rank'"):
            forecaster("last", rank=3)

    @pytest.mark.parametrize("name", FITTED)
    def test_bad_settings_are_refused(self, name):
        with pytest.raises(ArgumentError, match="`delays` must be a whole number of at least 1, or None"):
            forecaster(name, delays=0)
        with pytest.raises(ArgumentError, match="`size` must be a whole number of at least 1; got 0"):
            forecaster(name, rank=0)

    @pytest.mark.parametrize("name", ["sharpness", "noise_share", "drift_share"])
    def test_negative_settings_of_the_ensemble_are_refused(self, name):
        with pytest.raises(ArgumentError, match=f"`{name}` must be at least 0; got -1"):
            forecaster("ensemble", **{name: -1})

    def test_a_tolerance_of_zero_is_refused(self):
        with pytest.raises(ArgumentError, match="`tolerance` must be above 0; got 0"):
            forecaster("paper", tolerance=0)


def test_arithmetic_that_overflows_is_told_and_not_handed_on():
    class Overflowing(WindowForecaster):
        def _answer(self, window, horizon):
            return Answer(np.array([np.inf, 0, 0]), np.ones(3), window.outcome)

    forecast = Overflowing().forecast(noisy_decays(0), 1)
    assert forecast.outcome.kind is Kind.UNDETERMINED
    assert "The arithmetic overflowed" in forecast.outcome.sentence


def test_a_decomposition_that_fails_argues_for_the_last_value(monkeypatch):
    def fail(matrix):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(np.linalg, "inv", fail)
    series = noisy_decays(0)
    paths = candidate_paths(series, framed(series), 30, decompositions(30, 3), np.array([5.0]))
    assert np.allclose(paths[4:], series[-1])
    assert forecaster("affine").forecast(series, 5).outcome.kind is Kind.UNDETERMINED
