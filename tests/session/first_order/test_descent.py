"""The descent of all that is no rate: the ratio of Adam, by a naive twin, and what the entries promise together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ray_glocal.session.first_order.descent import descend
from ray_glocal.session.first_order.tuning import (
    AMPLIFIED_UNTIL,
    DOUBT,
    ELAPSED_MOST,
    FAINT,
    FAINT_GAIN,
    FAINT_RISE,
    LONGEST,
    MEAN,
    NOISE,
    PROMISE,
    RATE,
    SHORTEST,
    SQUARE,
    STRIDE,
    STRONG,
    SURE,
    WEAK,
)

from .cases import kinds_of, memory

OTHERS, LINE = kinds_of(0, 0, 4), np.zeros(4)


def taught(series):
    known = memory(len(series[0]))
    for elasticity in series:
        known = known.learn(np.array(elasticity, float))
    return known


def doubted(count):
    """Mean over root mean square of so many equal observations, zeros being counted in."""
    return (1 - MEAN**count) / (1 - MEAN ** (count + DOUBT))


def heeded(ratio, count):
    """A ratio shortened by Wiener's share: the weights in a mean of noise say what its square comes to."""
    weights = [MEAN**age for age in range(count + DOUBT)]
    noise = NOISE * sum(weight * weight for weight in weights[:count]) / sum(weights) ** 2
    return ratio * ratio * ratio / (ratio * ratio + noise)


def whole(count):
    """The same of so many equal observations."""
    return heeded(doubted(count), count)


def naive(series, elapsed):
    """Adam's step in plain loops, a number at a time: longer where the mean is large, shorter where it is tiny."""
    moves, means = [], []
    for place in range(len(series[0])):
        first = second = 0.0
        for row in series:
            first = MEAN * first + (1 - MEAN) * row[place]
            second = SQUARE * second + (1 - SQUARE) * row[place] * row[place]
        mean, square = first / (1 - MEAN ** (len(series) + DOUBT)), second / (1 - SQUARE ** len(series))
        least = min(1.0, max(SHORTEST, abs(mean) / WEAK))
        length = min(STRIDE, RATE * min(elapsed, ELAPSED_MOST) * min(LONGEST, max(least, abs(mean) / STRONG)))
        moves.append(-length * heeded(mean / math.sqrt(square), len(series)) if square else 0.0)
        means.append(mean)
    promised = sum(abs(move * mean) for move, mean in zip(moves, means, strict=True))
    return [move * min(1.0, PROMISE / promised) if promised else move for move in moves]


@pytest.mark.parametrize("count", [1, 2, 7, 30])
@pytest.mark.parametrize("size", [1e-5, 1e-3, 0.1, 30.0])
@pytest.mark.parametrize("elapsed", [0.3, 1.0, 9.0])
def test_it_is_the_step_of_adam_and_longer_where_the_loss_depends_strongly_on_an_entry(count, size, elapsed):
    series = (size * np.random.default_rng(count).normal(0.3, 1.0, (count, 4))).tolist()
    np.testing.assert_allclose(descend(taught(series), OTHERS, LINE, elapsed), naive(series, elapsed), rtol=1e-10)


def test_what_keeps_its_size_and_sign_moves_by_whole_steps_and_by_short_ones_where_nothing_depends_on_it():
    move = descend(taught([[1e-9, -1e-9, 1e-2, 0.0]] * 5), OTHERS, LINE)
    assert move == pytest.approx(whole(5) * RATE * np.array([-SHORTEST, SHORTEST, -1, 0]))


def test_one_observation_says_less_than_several_of_its_like():
    moves = [descend(taught([[1e-2] * 4] * count), OTHERS, LINE)[0] for count in (1, 2, 3, 9, 60)]
    assert moves == sorted(moves, reverse=True)
    assert moves[0] == pytest.approx(-RATE / (1 + MEAN) / (1 + NOISE)), "of one nobody knows how much of it is noise"
    assert moves[-1] == pytest.approx(-RATE / (1 + NOISE * (1 - MEAN) / (1 + MEAN)))


def test_early_on_elasticities_count_for_more_as_the_stretches_are_shorter():
    known = taught([[20 * WEAK] * 4] * 60)
    late, half, early = (descend(known, OTHERS, LINE, progress=share)[0] for share in (0.9, AMPLIFIED_UNTIL, 0.0))
    assert late == half == pytest.approx(-RATE * whole(60))
    assert early == pytest.approx(-RATE * whole(60) * max(1, 20 * LONGEST * WEAK / STRONG)), (
        "by no more than the longest steps"
    )


def test_what_is_noise_alone_moves_by_a_share_of_what_its_ratio_says():
    series = np.random.default_rng(0).normal(0.0, 1.0, (60, 4000))
    known = taught(series)
    noise = float(np.mean(known.ratio**2))
    assert heeded(math.sqrt(noise), 60) == pytest.approx(math.sqrt(noise) / (1 + NOISE), rel=0.05)
    assert np.mean(known.signal**2) < noise / (1 + NOISE)


def test_what_drowns_in_noise_hardly_moves():
    move = descend(taught([[(-1.0) ** step, 1.0, 1.0, 1.0] for step in range(40)]), OTHERS, LINE)
    assert abs(move[0]) < 0.2 * abs(move[1])


def test_together_the_entries_promise_no_more_than_a_first_order_model_can_keep():
    for size in (0.5, 3.0, 100.0):
        known = taught([[size, -size, size, 1e-3]] * 3)
        move = descend(known, OTHERS, LINE)
        promised = np.sum(np.abs(move * known.average))
        long, small = min(STRIDE, RATE * LONGEST), 1e-3 * doubted(3)
        altogether = long * 3 * size * doubted(3) + RATE * min(1.0, small / WEAK) * small
        assert promised == pytest.approx(min(PROMISE, altogether * whole(3)))
        assert np.ptp(np.abs(move[:3])) < 1e-9, "all of them are shortened alike"


def test_decay_rates_and_learning_rates_stay():
    move = descend(taught([[0.1, 0.1, 0.01, -0.01]] * 3), kinds_of(1, 1, 2), LINE)
    assert move == pytest.approx(whole(3) * RATE * np.array([0, 0, -1, 1]))


def test_what_does_not_move_promises_nothing():
    """A rate's elasticity, however large, does not shorten the steps of the others."""
    move = descend(taught([[1e6, 1e6, 0.01, -0.01]] * 3), kinds_of(1, 1, 2), LINE)
    assert move == pytest.approx(whole(3) * RATE * np.array([0, 0, -1, 1]))


def test_nothing_moves_before_anything_is_known():
    with np.errstate(all="raise"):
        assert not descend(memory(4), OTHERS, LINE).any()


@given(arrays(np.float64, (3, 4), elements=st.floats(-1e6, 1e6)), st.floats(0, 1e3))
def test_no_step_is_longer_than_a_stride_and_each_leads_down_its_mean(series, elapsed):
    known = taught(series.tolist())
    move = descend(known, OTHERS, LINE, elapsed)
    assert np.isfinite(move).all()
    assert (move * known.average <= 0).all()
    # A mean of three over their root mean square: the weights of the one and of the other are not the same.
    assert np.abs(move).max() <= STRIDE * 1.2
    assert np.sum(np.abs(move * known.average)) <= PROMISE * (1 + 1e-9)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 0.02])
def test_a_value_too_small_to_matter_is_raised_until_it_has_bought_what_is_hoped_for(size):
    """Its elasticity grows in proportion to it: raised by d, it has bought size * (exp(d) - 1)."""
    (move,) = descend(taught([[-size]] * SURE), kinds_of(0, 0, 1, logs=True), np.array([-10.0]))
    mean = size * doubted(SURE)
    raised = min(FAINT_RISE, math.log(1 + FAINT_GAIN / mean))
    assert move == pytest.approx(whole(SURE) * max(RATE, raised))
    if raised < FAINT_RISE:
        assert mean * math.expm1(move / whole(SURE)) == pytest.approx(FAINT_GAIN)


def test_it_is_not_raised_by_long_steps_before_several_observations_agree_nor_lowered_so():
    kinds, line = kinds_of(0, 0, 1, logs=True), np.array([-10.0])
    assert descend(taught([[-1e-6]] * (SURE - 1)), kinds, line) == pytest.approx([whole(SURE - 1) * RATE * SHORTEST])
    assert descend(taught([[1e-6]] * SURE), kinds, line) == pytest.approx([-whole(SURE) * RATE * SHORTEST])
    disagreeing = taught([[-1e-6], [5e-7], [-1e-6], [5e-7], [-1e-6]])
    assert disagreeing.average < 0
    assert 0 < descend(disagreeing, kinds, line) < RATE * SHORTEST


def test_of_logits_only_those_near_the_lower_bound_are_raised_so():
    known, kinds = taught([[-1e-6, -1e-6]] * SURE), kinds_of(0, 0, 2, logits=True)
    assert descend(known, kinds, np.array([FAINT - 1, FAINT + 1])) == pytest.approx(
        whole(SURE) * np.array([FAINT_RISE, RATE * SHORTEST])
    )
