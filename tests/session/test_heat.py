"""Heat: learning rates beneath a schedule settle where a window's loss pays for them what they are worth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ray_glocal.hypergradient import Hyperparameter
from ray_glocal.session.windows.gate import CAUSES, Cause, Verdicts
from ray_glocal.session.windows.heat import affordable_heat, heat_step, with_heat
from ray_glocal.session.windows.outer import Axes, OuterState, Standing, restrain
from ray_glocal.session.windows.tuning import CEILING, DOWN, HEAT_ENDS, POWER, UP, WILD

from .cases import LIVELY, Run, drive, windows

DEFAULT = windows()
AXES = Axes(*np.eye(3, dtype=bool), np.ones(3, int))  # lr, momentum, weight_decay
EARLY = Standing(0.1, annealed=True, heat=DEFAULT.heat)
CLEAR = Verdicts(np.zeros(3, np.intp), np.ones(3), np.full(3, 0.1), np.full(3, 9.0))


def state(heat, **changed):
    return replace(OuterState.start(AXES, DEFAULT), heat=np.full(3, heat), **{"searching": False, **changed})


@pytest.mark.parametrize("start", [-6.0, -1.0, 0.0, 0.7, 3.0])
@pytest.mark.parametrize("power", [0.8, POWER, 2.5])
def test_a_rate_settles_where_its_heat_is_the_target(start, power):
    """In a world where heat is a power of the rate, also where it is another power than the rule believes in."""
    line, outer = np.array([start, 0.0, 0.0]), state(math.nan)
    for _ in range(40):
        felt = DEFAULT.heat * math.exp(power * line[0])
        outer = with_heat(outer, np.array([2 * felt, 0.3, 0.3]), 2.0)
        step, outer = heat_step(outer, AXES, line, EARLY)
        assert -DOWN <= step[0] <= UP
        assert not step[1:].any(), "only rates follow their heat"
        line = line + step
    assert abs(line[0]) < 0.02


def test_a_wild_descent_is_as_hot_as_a_wild_ascent():
    for local in (-3.0, 3.0):
        outer = with_heat(state(math.nan), np.full(3, local), 1.0)
        assert outer.heat[0] == pytest.approx(3.0)
        assert heat_step(outer, AXES, np.zeros(3), EARLY)[0][0] == -DOWN
    tame = with_heat(state(math.nan), np.full(3, -0.9 * WILD), 1.0)
    assert heat_step(tame, AXES, np.zeros(3), EARLY)[0][0] == pytest.approx(UP)


def test_several_rates_share_the_target():
    axes = Axes(np.array([True, True, False]), *np.zeros((2, 3), bool), np.ones(3, int))
    step, _ = heat_step(state(DEFAULT.heat / 2), axes, np.zeros(3), EARLY)
    assert step == pytest.approx(np.zeros(3))


def test_a_rate_is_worth_less_heat_as_the_schedule_comes_down():
    """What the session reads is the heat of the scheduled rate: its base stays where it is."""
    for height in (1.0, 0.5, 0.1):
        plan = replace(EARLY, heat=affordable_heat(DEFAULT.heat, height))
        step, _ = heat_step(state(DEFAULT.heat * height**POWER), AXES, np.zeros(3), plan)
        assert step == pytest.approx(np.zeros(3))


@pytest.mark.parametrize(
    ("changed", "plan"),
    [
        ({"searching": True}, EARLY),
        ({}, replace(EARLY, annealed=False)),
        ({}, replace(EARLY, progress=HEAT_ENDS)),
        ({}, replace(EARLY, heat=0.0)),
        ({"heat": np.full(3, math.nan)}, EARLY),
    ],
)
def test_a_rate_is_left_alone(changed, plan):
    assert not heat_step(replace(state(9.0), **changed), AXES, np.zeros(3), plan)[0].any()


def test_without_a_learning_rate_nothing_follows_its_heat():
    axes = Axes(*np.zeros((3, 2), bool), np.ones(2, int))
    before = replace(OuterState.start(axes, DEFAULT), heat=np.full(2, 9.0))
    with np.errstate(all="raise"):
        step, after = heat_step(before, axes, np.zeros(2), EARLY)
    assert not step.any()
    assert after is before


def test_a_rate_is_not_raised_to_where_training_was_lost():
    lost = OuterState.start(AXES, DEFAULT).forget(AXES, DEFAULT, np.zeros(3))
    below = replace(lost, searching=False, heat=np.zeros(3))
    assert heat_step(below, AXES, np.full(3, -CEILING), EARLY)[0][0] == 0
    assert heat_step(below, AXES, np.full(3, -CEILING - 0.05), EARLY)[0][0] == pytest.approx(0.05)


def test_while_rates_follow_their_heat_the_gate_moves_the_rest():
    verdicts = restrain(CLEAR, state(0.1), AXES, EARLY)
    assert list(verdicts.share) == [0, 1, 1]
    assert CAUSES[verdicts.cause[0]] is Cause.HEAT
    assert verdicts.reason(0) == "elasticity +0.1, but beneath a schedule that anneals a rate follows its heat"


def test_nothing_is_felt_in_the_search_or_of_a_loss_that_is_not_positive():
    for before, loss in ((state(math.nan, searching=True), 1.0), (state(math.nan), 0.0), (state(math.nan), math.nan)):
        assert np.isnan(with_heat(before, np.ones(3), loss).heat).all()


def test_a_session_beneath_a_schedule_adapts_without_a_learning_rate():
    run = Run("sgd", settings=LIVELY, schedule="cosine")
    session = run.session(hyper=(Hyperparameter("weight_decay", 1e-2, 1e-6, 0.1, "log"),))
    reports = drive(session, session.batches(run.loader))
    assert all(math.isfinite(report["val_loss"]) for report in reports)
    assert 1e-6 <= float(session.values["weight_decay"]) <= 0.1
