"""The gate: which hypergradients are acted on, and with which sentence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.session.windows.gate import CAUSES, Cause, Gate, Verdicts, judge
from ray_glocal.session.windows.outer import Standing, restrain

from .outer import AXES, DEFAULT, state


def judged(elasticity, deviation, local, settings=DEFAULT):
    return judge(np.array([elasticity]), np.array([deviation]), np.array([local]), settings)


@pytest.mark.parametrize(
    ("elasticity", "deviation", "local", "cause", "answer", "sentence"),
    [
        (0.2, 0.1, 1.0, Cause.CLEAR, Gate.ACT, "elasticity +0.2 at 2 deviations"),
        (-0.2, 0.2, -1.0, Cause.CLEAR, Gate.ACT, "elasticity -0.2 at 1 deviations"),
        (0.2, 0.4, 1.0, Cause.FAINT, Gate.ACT_SMALL, "elasticity +0.2 at only 0.5 deviations"),
        (0.2, 0.5, 1.0, Cause.NOISE, Gate.HOLD, "elasticity +0.2 drowns in noise (0.4 deviations)"),
        (1e-3, 1e-9, 1.0, Cause.DEAD_BAND, Gate.HOLD, "elasticity +0.001 lies in the dead band"),
        (0.2, 0.1, -1e-9, Cause.CONTRADICTED, Gate.HOLD, "elasticity +0.2 contradicts the local hypergradient"),
        (math.nan, 0.1, 1.0, Cause.UNKNOWN, Gate.HOLD, "no usable forecast"),
        (0.2, math.inf, 1.0, Cause.UNKNOWN, Gate.HOLD, "no usable forecast"),
        (0.2, 0.0, 1.0, Cause.CLEAR, Gate.ACT, "elasticity +0.2 at 1e+12 deviations"),
    ],
)
def test_the_gate_gives_every_answer_with_its_sentence(elasticity, deviation, local, cause, answer, sentence):
    verdicts = judged(elasticity, deviation, local)
    assert CAUSES[verdicts.cause[0]] is cause
    assert (verdicts.answer(0), verdicts.reason(0)) == (answer, sentence)
    assert (verdicts.share[0] > 0) == (answer is not Gate.HOLD)


@given(st.floats(1e-2, 1e3), st.floats(1e-3, 1e3))
def test_the_granted_share_is_whole_where_it_acts_and_else_the_shrinkage(elasticity, deviation):
    ratio = elasticity / deviation
    share = judged(elasticity, deviation, 1.0).share[0]
    small = ratio**2 / (1 + ratio**2) if ratio >= DEFAULT.act_small else 0.0
    assert share == pytest.approx(1.0 if ratio >= DEFAULT.act else small)


CLEAR = Verdicts(np.zeros(3, np.intp), np.ones(3), np.full(3, 0.1), np.full(3, 9.0))


@pytest.mark.parametrize(
    ("losses", "remaining", "elasticity", "waits"),
    [
        ((1.0, 1.0, 1.0, 1.0), 0.9, 0.1, [True, True, False]),
        ((1.0, 1.0, 1.0, 1.0), 0.9, -0.1, [False, False, False]),  # only a cut waits
        ((1.0, 1.0, 1.3, 1.2), 0.9, 0.1, [False, False, False]),  # the loss rises
        ((1.0, 1.0, 1.0, 1.0), 0.2, 0.1, [False, False, False]),  # the end is near
        ((1.0, 1.0, 1.0), 0.9, 0.1, [False, False, False]),  # too early to say
        ((1.0, 1.0, 1.0, math.nan), 0.9, 0.1, [True, True, False]),
    ],
)
def test_a_cut_waits_while_the_loss_does_not_rise(losses, remaining, elasticity, waits):
    outer = state((elasticity,) * 3, losses=losses)
    verdicts = restrain(CLEAR, outer, AXES, Standing(1 - remaining, annealed=False))
    annealed = restrain(CLEAR, outer, AXES, Standing(1 - remaining, annealed=True))
    late = remaining == 0.2
    assert list(annealed.share == 0) == ([True, True, False] if late else waits), "the schedule sees to the end"
    assert list(verdicts.share == 0) == waits
    if waits[0]:
        assert verdicts.reason(0) == "elasticity +0.1, but a cut can wait while the loss does not rise"
