import math

import numpy as np
import pytest

from ray_glocal.errors import ArgumentError
from ray_glocal.koopman.flow import flow_horizon, lag_flow


def test_at_a_constant_rate_flow_is_steps():
    assert flow_horizon(np.full(16, 0.3), 0.3 * 100) == pytest.approx(100)
    assert np.allclose(lag_flow([0.3] * 4), [0.3, 0.6, 0.9, 1.2])


def test_lags_are_counted_back_from_the_end():
    assert lag_flow([4.0, 2.0, 1.0]).tolist() == [1.0, 3.0, 7.0]


def test_the_second_half_of_a_cosine_schedule_holds_less_than_a_fifth_of_its_flow():
    """The integral of (1 + cos x) / 2 from pi / 2 to pi is (pi / 2 - 1) / 2, of pi / 2 in all."""
    rates = 0.5 + 0.5 * np.cos(np.pi * np.arange(2000) / 2000)
    share = flow_horizon(rates[:1000], rates[1000:].sum()) * rates[:1000].mean() / rates.sum()
    assert share == pytest.approx((math.pi / 2 - 1) / math.pi, abs=1e-3)


@pytest.mark.parametrize("bad", [[], [0.1, -0.1], [math.nan], [math.inf], [[0.1]], 0.1])
def test_rates_that_are_none_are_refused(bad):
    with pytest.raises(ArgumentError, match="`rates` must hold finite numbers from 0 on, one for each step; got"):
        lag_flow(bad)


@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_a_flow_that_is_none_is_refused(bad):
    with pytest.raises(ArgumentError, match="`ahead` must be a finite number from 0 on; got"):
        flow_horizon([0.1], bad)


def test_rates_of_zero_have_no_horizon():
    with pytest.raises(ArgumentError, match="`rates` must not all be zero"):
        flow_horizon([0.0, 0.0], 1.0)
