"""Budgets, reports and the time of windows by hand, at given prices."""

import math

import pytest
import torch

from ray_glocal.session.pacing.budget import Budget, Prices, reports_every
from ray_glocal.session.pacing.cost import PLAIN, WINDOW, Cost
from ray_glocal.session.pacing.cost import SEARCH as SEARCHED
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.pacing.tuning import COMPARING, FRONT, LEARN, REPORTS, SEARCH_SHARE, WANTED, WARM_UP

CPU = torch.device("cpu")


def test_where_a_budget_buys_too_few_hypergradients_it_grows_for_as_many_as_are_wanted_and_no_further():
    by_hand = Budget(0.1, 0.25, 1000, 100)
    plenty, few, dear = (Prices(1.0, window, report=1.0, upkeep=0.01) for window in (1.0, 5.0, 50.0))
    assert by_hand.free(0, 0.0, plenty) == pytest.approx(100 - 10 - 10)
    assert by_hand.free(0, 0.0, few) == pytest.approx(WANTED * 5.0)
    assert by_hand.share(few) == pytest.approx((10 + 10 + WANTED * 5.0) / 1000)
    assert by_hand.free(0, 0.0, dear) == pytest.approx(250 - 10 - 10)
    assert by_hand.free(600, 120.0, few) == pytest.approx(20 + WANTED * 5.0 - 120.0 - 4 - 4), "what was spent is spent"


def test_what_is_free_by_hand():
    budget = Budget(0.25, 0.25, 1000, 100)
    prices = Prices(plain=2.0, window=50.0, report=3.0, upkeep=0.01)
    assert budget.free(0, 0.0, prices) == pytest.approx(500 - 10 * 3 - 10)
    assert budget.free(750, 400.0, prices) == pytest.approx(500 - 400 - 3 * 3 - 2.5)
    assert budget.period(0, 0.0, Prices(1.0, 40.0), 16) == 64, "1000 * 40 / 250 / 2 = 80, rounded down"
    assert FRONT == 2.0
    assert budget.period(0, 220.0, Prices(1.0, 40.0), 16) is None
    assert budget.period(0, 0.0, Prices(1.0, 0.0), 16) == 16
    assert budget.searches(0, 0.0, 0.0, Prices(1.0, SEARCH_SHARE * 250))
    assert not budget.searches(0, 0.0, 0.0, Prices(1.0, SEARCH_SHARE * 250 + 1))
    assert not budget.searches(0, 240.0, 0.0, Prices(1.0, 20.0))


@pytest.mark.parametrize("total", [250, 1000, 1200, 9999, 10**6])
@pytest.mark.parametrize("steps", [0.3, 5.0, 70.0, 900.0])
@pytest.mark.parametrize("overhead", [0.1, 0.25])
def test_reports_come_at_ninths_of_training_by_steps_that_no_clock_decides(overhead, steps, total):
    period = reports_every(overhead, 128, steps, total)
    count = math.ceil(total / period)
    if count > 9:
        assert period >= 128
        assert (count - 1) * steps <= REPORTS * overhead * total
    elif count > 1:
        assert (count - 1) * steps <= COMPARING * overhead * total
    else:
        assert 3 * steps > COMPARING * overhead * total
    for share in (1 / 9, 1 / 3) if count >= 9 else (1 / 3,) if count >= 3 else ():
        first = math.ceil(share * total / period) * period
        assert first - share * total <= count * share + 1, "a step late for each report before it, and no more"


def test_reports_by_hand():
    assert reports_every(0.1, 128, 5 / 3, 1200) == 134, "nine of them, for a tenth each would miss the ninth"
    assert reports_every(0.1, 128, 5 / 3, 300) == 34, "a training of few steps is reported as often"
    assert reports_every(0.1, 128, 5 / 3, 250) == 84, "and in thirds where ninths cost too much"
    assert reports_every(0.1, 128, 5.0, 100) == 100
    assert reports_every(0.1, 128, 20 / 3, 100_000) == 337, "2 % of a long one buy 300 of them, of which 297 are ninths"


def test_the_time_of_a_window_is_shared_out():
    now = 0.0
    cost = Cost()
    meter = Meter(cost, CPU, lambda: now)
    for step in range(LEARN):
        meter.start(PLAIN)
        now += 9.0 if step < WARM_UP else 1.0
        meter.step()
    assert cost.typical(PLAIN) == 1.0, "the first steps set things up"
    assert cost.plain_seconds == 9.0 * WARM_UP + LEARN - WARM_UP
    for _ in range(4):
        meter.start(WINDOW)
        now += 1.5
        meter.step()
    meter.stop()  # a checkpoint, which is not booked
    now += 100.0
    meter.start(WINDOW)
    now += 10.0
    meter.complete(WINDOW)
    assert cost.first == {WINDOW: 12.0}
    assert cost.extra_seconds == 12.0
    assert cost.plain_seconds == 9.0 * WARM_UP + LEARN - WARM_UP + 4


def test_windows_before_any_plain_step_are_put_right_later():
    now = 0.0
    cost = Cost()
    meter = Meter(cost, CPU, lambda: now)
    for kind in (*[SEARCHED] * 8, *[PLAIN] * LEARN):
        meter.start(kind)
        now += 3.0 if kind == SEARCHED else 1.0
        meter.step()
    assert cost.plain_seconds == 8 + LEARN
    assert cost.extra_seconds == 16


def test_a_window_that_is_dropped_stays_paid_for():
    now = 0.0
    cost = Cost()
    meter = Meter(cost, CPU, lambda: now)
    meter.start(WINDOW)
    now += 5.0
    meter.forget()
    meter.start(WINDOW)
    now += 2.0
    meter.complete(WINDOW)
    assert cost.extra_seconds == 7
    assert cost.first == {WINDOW: 2}
