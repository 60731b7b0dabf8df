"""The leader, and the two rules that compare with it: against naive twins, in every order of arrival."""

import itertools
import math
from statistics import NormalDist

import pytest
from histories import histories
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rules import Dominated, NonFinite, Rung, Stalled, judge, rules_named
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.scheduling.standing import Ends

LADDER = Ladder(9, 3)
SURE = NormalDist().inv_cdf(0.95)


def naive_leader(events, ends):
    """The definition, from the list of events alone."""
    out, now = {}, {}
    for number, event in enumerate(events):
        if isinstance(event, Reported) and not event.finite:
            out[event.trial] = "for good"
        elif isinstance(event, Reported) and event.deviation is not None and event.step >= ends.ladder.grace:
            if event.trial not in out:
                now[event.trial] = (event.final + ends.deviations * event.deviation, number, event.trial)
        elif isinstance(event, Decision) and event.prunes:
            out[event.trial] = "for good"
        elif isinstance(event, Errored) and event.final:
            out.setdefault(event.trial, "until added")
        elif isinstance(event, Added) and out.get(event.trial) == "until added":
            del out[event.trial]
        now = {trial: told for trial, told in now.items() if trial not in out}
    return min(now.values(), default=None)


@given(histories, st.integers(1, 20), st.sampled_from([0.0, 1.0, SURE]))
def test_the_leader_equals_its_naive_twin_after_every_event(events, grace, deviations):
    ledger, ends, known = Ledger(), Ends(Ladder(grace), deviations), []
    for event in events:
        if ledger.record(event):
            known.append(event)
        leader, naive = ledger.view(ends).leader, naive_leader(known, ends)
        assert (leader is None) == (naive is None)
        assert leader is None or (leader.pessimistic, leader.trial) == (naive[0], naive[2])


def report(trial, final, deviation=0.01, potential=None, step=10):
    return Reported(trial, step, final, final, deviation, potential)


def answers(rule, *reports):
    ledger, told = Ledger(), {}
    for event in reports:
        ledger.record(event)
        decision = judge(ledger, event, (rule,))
        if decision is not None:
            ledger.record(decision)
            told[event.trial] = decision
    return told


def test_whose_best_hope_is_worse_than_the_leaders_worst_is_stopped_and_told_why():
    told = answers(Dominated(LADDER), report("a", 0.1), report("b", 0.5))
    assert set(told) == {"b"}
    assert told["b"].action is Action.STOP
    assert told["b"].reason == (
        "Even optimistically it would end at 0.483551 (forecast 0.5, potential 0, 1.64 deviations of 0.01), above the "
        "pessimistic end of trial a, 0.116449."
    )


@pytest.mark.parametrize(
    "spared",
    [
        report("b", 0.5, potential=0.4),  # it may still improve by so much
        report("b", 0.5, deviation=0.3),  # nobody knows
        report("b", 0.12),  # about as good
        report("b", 0.5, step=8),  # too young
        Reported("b", 10, 0.5),  # no forecast
    ],
)
def test_a_trial_that_may_still_win_is_left_alone(spared):
    assert not answers(Dominated(LADDER), report("a", 0.1), spared)


@pytest.mark.parametrize("leader", [report("a", 0.1, step=8), Reported("a", 10, 0.1), Reported("a", 10, math.nan)])
def test_nobody_is_judged_by_a_leader_of_whom_little_is_known(leader):
    assert not answers(Dominated(LADDER), leader, report("b", 0.5))


def test_a_failed_leader_leads_no_longer():
    ledger = Ledger([report("a", 0.1), Errored("a"), report("b", 0.5)])
    assert judge(ledger, report("b", 0.5), (Dominated(LADDER),)) is None


def test_one_that_completed_leads_on():
    ledger = Ledger([report("a", 0.1), Completed("a"), report("b", 0.5)])
    assert judge(ledger, report("b", 0.5), (Dominated(LADDER),)).stops


MOVES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.floats(-2, 2), st.floats(0, 1), st.none() | st.floats(0, 2)), max_size=40
)


@given(MOVES)
def test_at_least_one_trial_always_survives(moves):
    rules = (NonFinite(), Rung(Ladder(1, 2)), Dominated(Ladder(1, 2), 0.5), Stalled(Ladder(1, 2), 1.0))
    ledger, steps, stopped = Ledger(), {}, set()
    for trial, final, deviation, potential in moves:
        if trial in stopped:
            continue
        steps[trial] = steps.get(trial, 0) + 1
        event = Reported(trial, steps[trial], final, final, deviation, potential)
        ledger.record(event)
        decision = judge(ledger, event, rules)
        if decision is not None:
            ledger.record(decision)
            stopped |= {trial} if decision.stops else set()
        assert set(steps) - stopped


def test_a_trial_without_potential_that_is_not_among_the_best_is_stalled():
    reports = [report(name, 0.1 * k, potential=1e-4) for k, name in enumerate("abcd", 1)]
    told = answers(Stalled(Ladder(9, 3)), *reports)
    assert set(told) == {"c", "d"}, "with three on the rung one goes on, with four two"
    assert told["d"].reason == (
        "The remaining outer steps can buy 0.0001, less than 5% of the 0.3 that its forecast 0.4 lies behind trial a, "
        "and 3 of its rung are better, of whom 2 go on."
    )


@pytest.mark.parametrize("potential", [None, 0.1])
def test_a_trial_that_may_improve_or_does_not_say_is_not_stalled(potential):
    reports = [report(name, 0.1 * k, potential=potential) for k, name in enumerate("abcd", 1)]
    assert not answers(Stalled(Ladder(9, 3)), *reports)


def test_in_every_order_of_arrival_the_best_is_not_stalled():
    for order in itertools.permutations(range(4)):
        reports = [report("abcd"[k], 0.1 * (k + 1), potential=0.0) for k in order]
        assert "a" not in answers(Stalled(Ladder(9, 3)), *reports)


def test_settings_out_of_range_are_refused():
    for make in (lambda: Dominated(LADDER, 0.4), lambda: Dominated(LADDER, 1.0), lambda: Stalled(LADDER, 0.0)):
        with pytest.raises(ArgumentError):
            make()
    assert [rule.name for rule in rules_named(("dominated", "stalled"), LADDER)] == ["dominated", "stalled"]
