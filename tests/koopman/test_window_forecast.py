import math

import numpy as np
import pytest
from scipy.integrate import quad

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Kind
from ray_glocal.koopman import forecaster
from ray_glocal.koopman.window_forecast import window_forecast


def saturating(flow, rates=(0.05, 0.2), sizes=(1.0, -2.0)):
    """Effect of a change over a flow on a quadratic loss: decaying contributions added up, shape [time, 2]."""
    times = np.asarray(flow, dtype=float)[:, None]
    return np.array(sizes) * -np.expm1(-times * np.array(rates)) / np.array(rates)


def cosine(steps):
    return 0.5 + 0.5 * np.cos(np.pi * np.arange(steps) / steps)


def test_at_a_constant_rate_it_is_the_plain_forecast():
    lags = saturating(np.arange(1, 41))
    seen = window_forecast(forecaster("evidence"), lags, np.full(40, 0.5), remaining=0.5 * 140, before=0.5 * 60)
    plain = forecaster("evidence").forecast(lags, 100)
    assert np.allclose(seen.forecast.mean, plain.mean)
    assert np.allclose(seen.forecast.deviation, plain.deviation)
    assert seen.forecast.horizon == pytest.approx(100)
    assert np.array_equal(seen.local, lags[-1])
    assert (seen.span, seen.remaining, seen.end) == (20.0, 70.0, 50.0)


def test_under_a_schedule_flow_time_meets_the_truth_and_steps_do_not():
    factors = cosine(400)
    passed = factors[200:240]
    lags = saturating(np.cumsum(passed[::-1]))
    truth = saturating([factors[200:].sum()])[0]
    in_flow = window_forecast(forecaster("increment"), lags, passed, factors[200:].sum()).forecast.mean
    in_steps = forecaster("increment").forecast(lags, 160).mean
    assert np.max(np.abs(in_flow / truth - 1)) < 0.1
    assert np.max(np.abs(in_steps / truth - 1)) > 2 * np.max(np.abs(in_flow / truth - 1))


def test_near_the_end_lags_beyond_what_is_left_are_left_out():
    lags = saturating(np.arange(1, 41))
    seen = window_forecast(forecaster("last"), lags, np.ones(40), remaining=25)
    assert np.array_equal(seen.local, lags[24])
    assert (seen.span, seen.forecast.horizon) == (25.0, 0.0)
    assert np.array_equal(seen.logarithmic, lags[24])
    assert (
        len(window_forecast(forecaster("last"), lags, np.ones(40), remaining=0).local) == 2
    )  # and never fewer than a forecast needs
    assert window_forecast(forecaster("last"), lags, np.ones(40), remaining=0).span == 4.0


def test_the_law_adds_up_contributions_that_fade_like_one_over_the_lag():
    rates, before, remaining = np.full(30, 2.0), 100.0, 700.0
    lags = np.column_stack([0.5 * np.arange(1.0, 31), -np.ones(30)])
    seen = window_forecast(forecaster("last"), lags, rates, remaining, before)
    young = (100 + 60) / 4
    beyond = quad(lambda flow: 0.25 * (young + 60) / (young + flow), 60, 700)[0]  # the slope is 0.5 a step of 2
    assert np.allclose(seen.slope, [0.25, 0.0])
    assert np.allclose(seen.logarithmic, [15 + beyond, -1.0])


def test_the_slope_is_that_of_the_second_half():
    lags = np.concatenate([np.zeros(10), np.arange(10.0)])[:, None] + np.random.default_rng(0).normal(size=(20, 3))
    seen = window_forecast(forecaster("last"), lags, np.ones(20), 50.0)
    assert np.allclose(seen.slope, np.polyfit(np.arange(10), lags[10:], 1)[0])


def test_rates_of_zero_are_refused_as_a_value():
    seen = window_forecast(forecaster("last"), np.ones((9, 2)), np.zeros(9), 5.0)
    assert seen.forecast.outcome.kind is Kind.UNDETERMINED
    assert "learning rates of the window are all zero" in seen.forecast.outcome.sentence
    assert np.isfinite(seen.logarithmic).all()


def test_a_rate_of_zero_at_the_end_does_no_harm():
    rates = np.append(np.ones(10), np.zeros(10))
    seen = window_forecast(forecaster("evidence"), saturating(np.arange(1, 21)), rates, 50.0)
    assert np.isfinite(seen.logarithmic).all()
    assert seen.forecast.outcome.usable


@pytest.mark.parametrize("remaining", [-1.0, math.inf, math.nan])
def test_a_remaining_flow_out_of_range_is_refused(remaining):
    with pytest.raises(ArgumentError, match="`remaining` must be a finite number from 0 on; got"):
        window_forecast(forecaster("last"), np.ones((9, 2)), np.ones(9), remaining)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="`rates` must be one for each of 9 lags; got 8"):
        window_forecast(forecaster("last"), np.ones((9, 2)), np.ones(8), 1.0)
    with pytest.raises(ArgumentError, match="`before` must be a finite number from 0 on; got -2"):
        window_forecast(forecaster("last"), np.ones((9, 2)), np.ones(9), 1.0, -2.0)
    with pytest.raises(ArgumentError, match=r"`series` must have shape \[time, channel\]"):
        window_forecast(forecaster("last"), np.ones(9), np.ones(9), 1.0)
