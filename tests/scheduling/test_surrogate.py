"""The surrogate against a Gaussian process written out trial by trial."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from ray_glocal.scheduling.candidates import candidates
from ray_glocal.scheduling.event import Added, Errored, Reported
from ray_glocal.scheduling.evidence import evidence
from ray_glocal.scheduling.factor import Factor, Space
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.proposed import ProposedTrials
from ray_glocal.scheduling.surrogate import Belief, surrogate
from ray_glocal.scheduling.tuning import CORRELATION_LENGTH, ENUMERABLE, FAILURE, HELD, JOINT, JOINT_CORRELATION, NOISES

PLACES = (0.0, 0.25, 1.0)
SPACE = Space((Factor("width", 3, places=PLACES), Factor("optimizer", 2)), ())
EVERY = np.array(list(itertools.product(range(3), range(2))))


def hundredths(least):
    return st.integers(least, 500).map(lambda count: count / 100)


trials = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 1), hundredths(-500), st.none() | hundredths(0), st.booleans()),
    min_size=1,
    max_size=12,
)


def ledger_of(told):
    ledger = Ledger()
    for i, (width, optimizer, loss, deviation, failed) in enumerate(told):
        ledger.record(Added(str(i), levels=(width, optimizer), origin="cover"))
        ledger.record(Reported(str(i), 1, loss, loss, deviation))
        if failed and i:
            ledger.record(Errored(str(i)))
    return ledger


def naive_kernel(a, b, joint):
    """The prior covariance of two configurations, from its definition."""
    steps = math.sqrt(3) * abs(PLACES[a[0]] - PLACES[b[0]]) / CORRELATION_LENGTH
    width = (1 + steps) * math.exp(-steps)
    same = float(a[1] == b[1])
    return 1 + width + same + joint * width * ((1 - JOINT_CORRELATION) * same + JOINT_CORRELATION)


def naive_observations(told):
    """Losses in spreads, bounded, and squared deviations, trial by trial."""
    fine = [row[2] for i, row in enumerate(told) if not (row[4] and i)]
    centre = np.median(fine)
    spread = np.median(np.abs(np.array(fine) - centre)) * 1.4826 or np.ptp(fine) or 1.0
    losses, squares = [], []
    for i, (_, _, loss, deviation, failed) in enumerate(told):
        lost = failed and i
        losses.append(FAILURE if lost else min(max((loss - centre) / spread, -FAILURE), FAILURE))
        squares.append(0.0 if lost else min((deviation or 0.0) / spread, FAILURE) ** 2)
    return np.array(losses), np.array(squares)


@given(trials)
@settings(deadline=None)
def test_settings_and_beliefs_are_those_of_a_process_over_single_trials(told):
    losses, squares = naive_observations(told)
    where = [row[:2] for row in told]
    fits = []
    for joint, noise in itertools.product(JOINT, NOISES):
        prior = np.array([[naive_kernel(a, b, joint) for b in where] for a in where])
        covariance = prior + np.diag(squares + noise**2)
        fits.append((multivariate_normal(np.zeros(len(told)), covariance).logpdf(losses), joint, noise, covariance))
    known = surrogate(SPACE, evidence(SPACE, ledger_of(told).view(ProposedTrials(SPACE))))
    likelihood, joint, noise, covariance = next(f for f in fits if f[1] == known.joint and f[2] ** 2 == known.noise)
    assert likelihood == pytest.approx(max(f[0] for f in fits), abs=1e-4)
    across = np.array([[naive_kernel(a, b, joint) for b in where] for a in EVERY])
    belief = known.believe(EVERY)
    assert belief.mean == pytest.approx(across @ np.linalg.solve(covariance, losses), abs=1e-6)
    prior = [naive_kernel(a, a, joint) for a in EVERY]
    variance = prior - np.einsum("ij,ij->i", across, np.linalg.solve(covariance, across.T).T)
    assert belief.deviation == pytest.approx(np.sqrt(variance), abs=1e-5)


def test_a_slope_is_an_observation_of_the_differences_to_the_neighbouring_values():
    logs = tuple(math.log(value) for value in (1.0, 2.0, 8.0))
    space = Space((Factor("width", 3, places=PLACES, logs=logs), Factor("optimizer", 2)), ())
    ledger = ledger_of([(1, 0, 1.0, None, False), (0, 1, 2.0, None, False), (2, 1, 5.0, None, False)])
    known = evidence(space, ledger.view(ProposedTrials(space)))
    ledger.record(Reported("0", 2, 1.0, 1.0, slopes={"width": 0.5, "optimizer": 9.0, "stranger": 9.0}))
    spread, every = known.units.spread, [(1, 0), (0, 1), (2, 1), (0, 0), (2, 0)]
    steps = np.array([-0.5 * math.log(2) / spread, 0.5 * math.log(4) / spread])
    means = np.concatenate(
        [naive_observations([(1, 0, 1.0, None, 0), (0, 1, 2.0, None, 0), (2, 1, 5.0, None, 0)])[0], steps]
    )
    told = surrogate(space, evidence(space, ledger.view(ProposedTrials(space))))
    adds = np.eye(5)
    adds[3:, 0] = -1
    prior = np.array([[naive_kernel(a, b, told.joint) for b in every] for a in every])
    noise = np.diag([told.noise] * 3 + [*(0.1**2 + (steps / 2) ** 2)])
    across = np.array([[naive_kernel(a, b, told.joint) for b in every] for a in EVERY]) @ adds.T
    expected = across @ np.linalg.solve(adds @ prior @ adds.T + noise, means)
    assert told.believe(EVERY).mean == pytest.approx(expected, abs=1e-6)


@given(trials)
@settings(deadline=None)
def test_awaited_trials_make_sure_but_change_no_expectation(told):
    known = surrogate(SPACE, evidence(SPACE, ledger_of(told).view(ProposedTrials(SPACE))))
    before, after = known.believe(EVERY), known.awaiting(EVERY[:2]).believe(EVERY)
    assert after.mean == pytest.approx(before.mean, abs=1e-6)
    assert (after.deviation <= before.deviation + 1e-9).all()
    assert (after.deviation[:2] < before.deviation[:2]).all()


@given(st.floats(-6, 6), st.floats(1e-3, 10), st.floats(-3, 3))
def test_the_expected_improvement_is_the_integral_over_what_is_better(ratio, deviation, incumbent):
    belief = Belief(np.array([incumbent - ratio * deviation]), np.array([deviation]))
    gap = ratio * deviation
    exact = gap * norm.cdf(ratio) + deviation * norm.pdf(ratio)
    assert belief.improvement(incumbent)[0] == pytest.approx(exact, rel=1e-4)


def test_an_additive_world_gets_no_joint_effects_and_another_gets_them():
    space = Space((Factor("a", 4), Factor("b", 4)), ())
    for mixed, joint in ((0.0, {0.0}), (1.0, {0.25, 1.0})):
        rng, found = np.random.default_rng(0), []
        for _ in range(5):
            a, b, both = rng.standard_normal(4), rng.standard_normal(4), rng.standard_normal((4, 4))
            ledger = Ledger()
            for i, (x, y) in enumerate(itertools.product(range(4), range(4))):
                loss = (1 - mixed) * (a[x] + b[y]) + mixed * both[x, y]
                ledger.extend([Added(str(i), levels=(x, y), origin="cover"), Reported(str(i), 1, 9.0, loss)])
            found.append(surrogate(space, evidence(space, ledger.view(ProposedTrials(space)))).joint)
        assert set(found) <= joint


def test_of_many_configurations_the_best_are_looked_at_and_some_of_all_ranks():
    space = Space((Factor("a", 500),), ())
    ledger = Ledger()
    for i in range(500):
        ledger.extend([Added(str(i), levels=(i,), origin="cover"), Reported(str(i), 1, 9.0, float(i))])
    held = evidence(space, ledger.view(ProposedTrials(space))).tried[:, 0].tolist()
    assert len(held) == len(set(held)) == HELD
    assert set(range(HELD // 2)) <= set(held)
    assert 499 in held
    assert np.diff(sorted(held)).max() <= 2 * 500 / (HELD // 2)


def test_a_small_space_is_asked_about_whole_and_a_large_one_near_the_best_and_elsewhere():
    rng = np.random.default_rng(0)
    assert sorted(map(tuple, candidates(SPACE, EVERY, np.zeros(6), rng))) == sorted(map(tuple, EVERY))
    large = Space(tuple(Factor(str(i), 10) for i in range(9)), ())
    tried = rng.integers(0, 10, (50, 9))
    asked = candidates(large, tried, np.arange(50.0), rng)
    assert large.configurations > ENUMERABLE
    assert len(np.unique(asked, axis=0)) == len(asked)
    steps = np.abs(asked - tried[0]).astype(bool).sum(axis=1)
    assert (steps == 0).sum() == 1
    assert (steps == 1).sum() == 9 * 9
    assert (steps > 5).sum() > 100
    assert ((asked >= 0) & (asked < 10)).all()
