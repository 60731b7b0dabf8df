"""Random training loops: weights are the plain loop's bit for bit, and no derivative is wrong without a word.

One draw alone, with all that it found: `python -m tests.session.fuzz SEED`.
"""

import logging
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import count

import pytest

from ray_glocal import GlocalSession

from .cases import entropy
from .fuzz import judging
from .fuzz.draws import alone, draw
from .fuzz.judging import NO_LOOP, RAW, RETREAT, RIGHT, UNJUDGED, WARNED, WEIGHTS, WRONG, judge
from .fuzz.loops import Trial, plainest, rate

DRAWS = 60
MOST, CHUNK, EVERY = 360, 20, 3


@cache
def outcome_of(seed):
    return judge(draw(seed).trial())


def fault_of(seed):
    """What is wrong with a draw, or an empty text."""
    return fault_in(outcome_of(seed), followed=draw(seed).followed)


def fault_in(outcome, *, followed):
    excused = outcome.kind in (RIGHT, UNJUDGED, NO_LOOP, RETREAT) or not followed
    return "" if excused and not outcome.fault else str(outcome)


@pytest.mark.parametrize("seed", range(DRAWS))
def test_a_draw_is_right_or_refused(seed):
    assert fault_of(seed) == ""


@pytest.mark.slow
@pytest.mark.parametrize("first", range(DRAWS, MOST, CHUNK))
def test_more_draws_are_right_or_refused(first):
    faults = [fault for seed in range(first, first + CHUNK) if (fault := fault_of(seed))]
    assert not faults, "\n".join(faults)


@pytest.mark.slow
@pytest.mark.parametrize("name", alone())
def test_a_part_alone_is_right_or_refused(name):
    """To a ten-thousandth: an error below a hundredth grows in other hands."""
    case = alone()[name]
    outcome = judge(replace(case.trial(), tolerance=1e-4, floor=1e-8))
    assert fault_in(outcome, followed=case.followed) == ""


@pytest.mark.parametrize(
    "seeds",
    [range(DRAWS), pytest.param(range(DRAWS, MOST, EVERY), marks=pytest.mark.slow)],
    ids=["few", "more"],
)
def test_most_draws_are_judged(seeds):
    """Where differences of several lengths disagree, as at kinks, nothing is said of the derivative."""
    ended = Counter(outcome_of(seed).kind for seed in seeds if not draw(seed).single)
    assert ended[NO_LOOP] <= 0.1 * ended.total(), ended
    assert ended[RETREAT] <= 0.02 * ended.total(), ended
    assert ended[UNJUDGED] <= 0.15 * ended.total(), ended
    assert ended[RIGHT] >= 0.4 * ended.total(), ended


def test_a_draw_is_the_same_for_the_same_seed():
    assert str(draw(5)) == str(draw(5))
    one, other = (judging.trained(draw(1).trial(), {"lr": 0.01}, 3) for _ in range(2))
    assert judging.differing(one, other) == []


# ---- the judge itself ----


def test_the_judge_finds_a_plain_network_right_in_both_windows():
    outcome = judge(Trial("smooth", plainest, (rate(0.1, windows=2),), steps=16, tolerance=1e-6))
    assert outcome.kind == RIGHT, str(outcome)
    assert [found.step for found in outcome.derivatives] == [8, 16]


def test_the_judge_sees_other_weights():
    calls = count()

    def other_each_time(model, batch):
        return entropy(model, batch) * (1 + 1e-9 * next(calls))

    assert judge(Trial("other", lambda: plainest(other_each_time), (rate(0.1),))).kind == WEIGHTS


def test_the_judge_sees_a_wrong_derivative(monkeypatch):
    monkeypatch.setattr(judging, "moved_by", lambda scale, value, by: value * (1 + 1.02 * by))
    assert judge(Trial("two hundredths", plainest, (rate(0.1),))).kind == WRONG


def test_the_judge_sees_a_raw_error():
    calls = count()

    def fails(model, batch):
        if next(calls) >= 8:  # the plain loop is through
            raise ZeroDivisionError("of its own")
        return entropy(model, batch)

    assert judge(Trial("fails", lambda: plainest(fails), (rate(0.1),))).kind == RAW


def test_a_word_that_every_session_says_excuses_nothing(monkeypatch):
    logger = logging.getLogger("ray_glocal.session")
    begin = GlocalSession._begin

    def talkative(session, batch):
        logger.warning("about %d windows", id(session) % 7)
        begin(session, batch)

    monkeypatch.setattr(GlocalSession, "_begin", talkative)
    monkeypatch.setattr(judging, "usual", judging.usual.__wrapped__)
    monkeypatch.setattr(judging, "moved_by", lambda scale, value, by: value * (1 + 1.02 * by))
    assert judge(Trial("two hundredths", plainest, (rate(0.1),))).kind == WRONG


def test_a_word_of_its_own_excuses_a_derivative(monkeypatch):
    logger = logging.getLogger("ray_glocal.session")

    def said(model, batch):
        logger.warning("the window was dropped")
        return entropy(model, batch)

    monkeypatch.setattr(judging, "moved_by", lambda scale, value, by: value * (1 + 1.02 * by))
    assert judge(Trial("two hundredths", lambda: plainest(said), (rate(0.1),))).kind == WARNED
