import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Forecast, Kind, Outcome
from ray_glocal.koopman.pooling import pooled
from ray_glocal.koopman.window_forecast import WindowForecast

FINE = Outcome(Kind.OK, "Forecast from 40 snapshots.")


def window_forecast(mean, deviation=0.1, end=100.0, remaining=200.0, local=None, slope=0.0, span=40.0):
    mean = np.atleast_1d(np.asarray(mean, dtype=float))
    filled = np.zeros_like(mean)
    forecast = Forecast(mean, filled + deviation, remaining, FINE)
    return WindowForecast(mean if local is None else filled + local, filled + slope, forecast, span, remaining, end)


def naive(forecasts):
    """The same sums for one channel, written out window by window."""
    now, rows = forecasts[-1], []
    for each in forecasts:
        factor = math.sqrt(min(1.0, now.remaining / each.remaining))
        mean, logarithmic = each.forecast.mean[0], each.logarithmic[0]
        estimate = factor * (mean + logarithmic) / 2
        variance = factor**2 * (each.forecast.deviation[0] ** 2 + (mean - logarithmic) ** 2 / 4)
        age = abs(math.log(now.end / each.end)) + abs(math.log(each.remaining / now.remaining))
        rows.append((estimate, variance, age))
    size = sum(row[0] ** 2 for row in rows) / len(rows)
    rows = [(estimate, variance, 1 / (variance + age * size)) for estimate, variance, age in rows]
    total = sum(row[2] for row in rows)
    mean = sum(row[0] * row[2] for row in rows) / total
    variance = sum((row[1] + (row[0] - mean) ** 2) * row[2] for row in rows) / total
    return mean, math.sqrt(variance + (0.5 * mean * math.log(1 + now.remaining / now.end)) ** 2)


def drawn(seed, count):
    random = np.random.default_rng(seed)
    ends = np.sort(random.uniform(50, 500, count))
    return [
        window_forecast(
            *random.normal(size=(1, 1)), *random.uniform(0.05, 1, 1), end, 600 - end, *random.normal(size=2)
        )
        for end in ends
    ]


@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_it_is_what_the_naive_sums_say(count):
    for seed in range(20):
        windows = drawn(seed, count)
        found = pooled(windows)
        assert (found.mean[0], found.deviation[0]) == pytest.approx(naive(windows))
        assert found.horizon == windows[-1].forecast.horizon


def test_channels_are_pooled_one_by_one():
    columns = [drawn(seed, 3) for seed in range(5)]
    ends = [(each.end, each.remaining) for each in columns[0]]
    columns = [[replace(e, end=t, remaining=r) for e, (t, r) in zip(c, ends, strict=True)] for c in columns]
    joint = []
    for row in zip(*columns, strict=True):
        forecast = Forecast(
            *(np.array([getattr(e.forecast, n)[0] for e in row]) for n in ("mean", "deviation")), 1, FINE
        )
        local, slope = (np.array([getattr(e, name)[0] for e in row]) for name in ("local", "slope"))
        joint.append(replace(row[0], local=local, slope=slope, forecast=forecast))
    found = pooled(joint)
    for index, column in enumerate(columns):
        assert found.mean[index] == pytest.approx(pooled(column).mean[0])
        assert found.deviation[index] == pytest.approx(pooled(column).deviation[0])


def test_windows_that_disagree_are_less_sure_than_windows_that_agree():
    ends = (90, 95, 100)
    agreeing = pooled([window_forecast(1.0, end=end, remaining=9) for end in ends])
    disagreeing = pooled(
        [window_forecast(mean, end=end, remaining=9) for mean, end in zip((-1.0, 2.0, 1.0), ends, strict=True)]
    )
    assert agreeing.mean[0] == pytest.approx(1.0)
    assert disagreeing.deviation[0] > 1.5 * agreeing.deviation[0]


def test_a_precise_window_outweighs_vague_ones_and_a_recent_one_older_ones():
    precise = pooled([window_forecast(2.0, 10.0, end=99), window_forecast(1.0, 0.01)])
    assert precise.mean[0] == pytest.approx(1.0, abs=0.01)
    recent = [pooled([window_forecast(2.0, end=end), window_forecast(1.0)]).mean[0] for end in (5.0, 50.0, 99.0)]
    assert 1.0 < recent[0] < recent[1] < recent[2] < 1.5


def test_pooling_noisy_windows_is_nearer_to_the_truth_and_its_intervals_hold_it():
    random = np.random.default_rng(0)
    truth = random.normal(size=4000)
    ends = (240.0, 260.0, 280.0, 300.0)
    noisy = [truth + random.normal(size=4000) for _ in ends]
    windows = [window_forecast(value, 1.0, end, 15.0) for value, end in zip(noisy, ends, strict=True)]
    found = pooled(windows)
    assert np.mean((found.mean - truth) ** 2) < 0.5 * np.mean((noisy[-1] - truth) ** 2)
    assert np.mean(np.abs(found.mean - truth) < 1.645 * found.deviation) > 0.9


@given(st.integers(0, 2**32), st.sampled_from([1e-290, 1e-150, 1e-3, 1e3, 1e140]), st.sampled_from([-1, 1]))
@settings(max_examples=60, deadline=None)
def test_scaling_the_loss_scales_the_answer(seed, size, sign):
    def scaled(each):
        forecast = replace(
            each.forecast, mean=sign * size * each.forecast.mean, deviation=size * each.forecast.deviation
        )
        return replace(each, local=sign * size * each.local, slope=sign * size * each.slope, forecast=forecast)

    plain, changed = pooled(drawn(seed, 3)), pooled([scaled(each) for each in drawn(seed, 3)])
    assert changed.mean[0] == pytest.approx(sign * size * plain.mean[0], rel=1e-6, abs=0)
    assert changed.deviation[0] == pytest.approx(size * plain.deviation[0], rel=1e-6, abs=0)


@given(st.floats(1e-6, 1e6))
def test_the_unit_of_flow_does_not_matter(unit):
    windows = drawn(3, 4)
    changed = [
        replace(e, slope=e.slope / unit, span=e.span * unit, remaining=e.remaining * unit, end=e.end * unit)
        for e in windows
    ]
    assert pooled(changed).mean[0] == pytest.approx(pooled(windows).mean[0])
    assert pooled(changed).deviation[0] == pytest.approx(pooled(windows).deviation[0])


def test_windows_without_a_usable_forecast_are_left_out():
    refused = replace(window_forecast(9.0), forecast=Forecast.refused(1, 5, Kind.SHORT, "3 snapshots are too few."))
    alone, both = pooled([window_forecast(1.0)]), pooled([refused, window_forecast(1.0)])
    assert both.mean[0] == alone.mean[0]
    last = pooled([window_forecast(1.0), refused])
    assert last is refused.forecast


def test_how_many_windows_speak_is_told():
    assert pooled([window_forecast(1.0)]).outcome == FINE
    assert pooled([window_forecast(1.0), window_forecast(1.0)]).outcome.sentence.endswith("Pooled from 2 windows.")


@pytest.mark.parametrize("remaining", [0.0, 1e-300, 1e-3])
def test_where_nothing_is_left_the_last_window_speaks(remaining):
    found = pooled([window_forecast(5.0), window_forecast(1.0, remaining=remaining)])
    assert found.mean[0] == pytest.approx(1.0, abs=0.2)
    assert np.isfinite(found.deviation).all()


def test_windows_that_see_nothing_foretell_nothing():
    found = pooled([window_forecast(0.0, 0.0), window_forecast(0.0, 0.0)])
    assert (found.mean[0], found.deviation[0]) == (0.0, 0.0)


def test_arithmetic_that_overflows_is_told():
    with np.errstate(over="ignore", invalid="ignore"):
        found = pooled([window_forecast(1e308, 1.0, local=1e308, slope=1e308)])
    assert found.outcome.kind is Kind.UNDETERMINED
    assert "The arithmetic overflowed" in found.outcome.sentence


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(ArgumentError, match="`forecasts` must hold at least one window forecast"):
        pooled([])
    with pytest.raises(ArgumentError, match=r"`forecasts` must have arrays of one shape \[q\]; got"):
        pooled([window_forecast([1.0, 2.0]), window_forecast(1.0)])
