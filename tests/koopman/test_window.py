import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Kind
from ray_glocal.koopman.window import checked_series, is_still, window, without_spikes


@pytest.mark.parametrize("place", [0, 1, 13, 37, 39])
def test_a_spike_of_twenty_deviations_is_replaced_wherever_it_sits(place):
    for seed in range(20):
        series = np.random.default_rng(seed).normal(size=(40, 2))
        spiked = series.copy()
        spiked[place, 1] += 20
        calm, count = without_spikes(spiked)
        assert count == 1
        assert abs(calm[place, 1]) < 3
        untouched = np.ones_like(series, dtype=bool)
        untouched[place, 1] = False
        assert np.array_equal(calm[untouched], series[untouched])


@pytest.mark.parametrize("eigenvalue", [0.99, 0.5, 0.34, -0.9, -0.5, 1.2])
def test_decays_oscillations_and_growth_hold_no_spike(eigenvalue):
    series = 2 + (eigenvalue ** np.arange(30.0))[:, None]
    assert without_spikes(series)[0] is series


def test_a_step_that_lasts_is_no_spike():
    series = np.where(np.arange(30) < 28, 0.0, 1.0)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(30, 1))
    assert without_spikes(series)[1] == 0


def test_gaussian_noise_is_hardly_ever_taken_for_a_spike():
    noise = np.random.default_rng(0).normal(size=(100, 1000))
    assert without_spikes(noise)[1] < 1e-3 * noise.size


def test_short_windows_keep_their_values():
    series = np.array([[0.0], [0.1], [9.0], [0.0], [0.1]])
    assert without_spikes(series)[0] is series


def test_a_channel_that_mostly_stands_still_keeps_its_one_move():
    series = np.ones((20, 1))
    series[9] = 2
    assert without_spikes(series)[0] is series
    assert window(series).outcome.kind is Kind.OK


def test_a_replaced_spike_is_told():
    series = np.random.default_rng(0).normal(size=(20, 1))
    series[9] = 50
    assert window(series).spikes == 1
    assert "Spikes replaced by the median of their neighbours: 1." in window(series).outcome.sentence


def test_rounding_error_is_no_motion():
    series = np.column_stack([np.full(9, 0.1), np.full(9, 0.1), np.zeros(9)])
    series[3, 0] = np.nextafter(0.1, 1)
    series[3, 1] = 0.1 + 1e-9
    assert is_still(series).tolist() == [True, False, True]


def test_the_first_bad_value_is_named():
    series = np.ones((9, 3))
    series[4, 2] = -np.inf
    assert "Snapshot 4 of channel 2 is -inf" in window(series).outcome.sentence


@pytest.mark.parametrize("bad", [np.zeros(5), np.zeros((5, 0)), np.zeros((5, 2, 2))])
def test_a_series_of_the_wrong_shape_is_refused(bad):
    with pytest.raises(ArgumentError, match=r"`series` must have shape \[time, channel\] with at least one channel"):
        checked_series(bad)


@pytest.mark.parametrize("bad", [np.zeros((5, 2), dtype=complex), [["a"]], [[None]]])
def test_a_series_that_is_not_real_is_refused(bad):
    with pytest.raises(ArgumentError, match="`series` must hold real numbers; got"):
        checked_series(bad)


def test_integers_and_lists_are_read_as_numbers():
    assert checked_series([[1, 2], [3, 4]]).dtype == np.float64
