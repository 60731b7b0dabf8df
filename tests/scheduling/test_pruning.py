import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rules import judge, rules_named
from ray_glocal.scheduling.rules.nonfinite import NonFinite
from ray_glocal.scheduling.rules.rung import Rung
from ray_glocal.scheduling.rungs import Ladder


class Experiment:
    """The loop around the rules that the scheduler is: record, judge, record, stop."""

    def __init__(self, rules):
        self.ledger, self.rules, self.stopped = Ledger(), rules, set()

    def report(self, trial, step, loss, deviation=None, mean=None, potential=None):
        event = Reported(trial, step, loss, mean, deviation, potential)
        self.ledger.record(event)
        decision = judge(self.ledger, event, self.rules)
        if decision is not None:
            self.ledger.record(decision)
            if decision.stops:
                self.stopped.add(trial)
                self.ledger.record(Completed(trial))
        return decision


def rung_rule(factor=3, caution=0.0):
    return (NonFinite(), Rung(Ladder(1, factor), caution))


def naive_stop(events, trial, factor, caution):
    """The rung rule said again without views: from the list of events alone, in quadratic time."""
    entries, latest, pruned, ladder = {}, {}, set(), Ladder(1, factor)
    failed, diverged = set(), set()
    for event in events:
        if isinstance(event, Reported) and not math.isfinite(event.loss):
            diverged.add(event.trial)
        elif isinstance(event, Reported):
            rungs = entries.setdefault(event.trial, {})
            rung = ladder.rung(event.step)
            if rung > max(rungs, default=-1):
                rungs[rung] = min(event.final, event.loss)
            if event.trial not in latest or event.step > latest[event.trial][0]:
                latest[event.trial] = (event.step, min(event.final, event.loss))
        elif isinstance(event, Decision) and event.prunes:
            pruned.add(event.trial)
            diverged |= {event.trial} if event.rule == "nonfinite" else set()
        elif isinstance(event, Errored) and event.final:
            failed.add(event.trial)
        elif isinstance(event, Added):
            failed.discard(event.trial)
    out = failed | diverged
    if trial in out or not entries.get(trial):
        return False
    newest = [e for e in events if isinstance(e, Reported) and e.trial == trial][-1]
    shared = {"event": newest, "pruned": pruned, "factor": factor, "caution": caution}
    rungs = [{t: e[rung] for t, e in entries.items() if rung in e and t not in out} for rung in entries[trial]]
    return any(naive_behind(values, trial, latest[trial][1], **shared) for values in rungs)


def naive_behind(values, trial, newest, *, event, pruned, factor, caution):
    ordered = sorted(values.values())
    spread = ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4] if len(ordered) > 1 else 0.0
    doubt = caution * (spread if event.deviation is None else min(event.deviation, spread))
    judged = min(values[trial], newest) - min(max(event.potential or 0, 0), spread) - doubt
    better = [t for t, value in values.items() if value < judged]
    keep = len(values) if len(values) < factor else len(values) // factor
    return len(better) >= keep and any(t not in pruned for t in better)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefgh"),
            st.integers(1, 3),
            st.floats(-10, 10),
            st.none() | st.floats(0, 5),
            st.none() | st.floats(-1, 5),
            st.sampled_from(["report"] * 12 + ["error", "nan"]),
        ),
        max_size=60,
    ),
    st.sampled_from([2, 3, 4]),
    st.sampled_from([0.0, 0.5]),
)
@settings(max_examples=200)
def test_the_rung_rule_equals_its_naive_twin_and_always_leaves_a_survivor(moves, factor, caution):
    experiment, clock, failed = Experiment(rung_rule(factor, caution)), {}, set()
    for trial, stride, loss, deviation, potential, kind in moves:
        if trial in experiment.stopped | failed:
            continue
        clock[trial] = clock.get(trial, 0) + stride
        if kind == "error":
            failed.add(trial)
            experiment.ledger.record(Errored(trial))
            continue
        before = experiment.ledger.events
        value = math.nan if kind == "nan" else loss
        decision = experiment.report(trial, clock[trial], value, deviation, potential=potential)
        if kind == "nan":
            assert decision.rule == "nonfinite"
            failed.add(trial)
            continue
        event = Reported(trial, clock[trial], loss, None, deviation, potential)
        expected = naive_stop([*before, event], trial, factor, caution)
        assert (decision is not None and decision.stops) == expected
        assert set(clock) - failed - experiment.stopped  # somebody is left of those that did not fail


def test_the_worst_of_six_does_not_escape_by_coming_first():
    experiment = Experiment(rung_rule())
    answers = [experiment.report("worst", step, 9.0) for step in range(1, 10)]
    assert not any(answer and answer.stops for answer in answers)
    for i, trial in enumerate("bcdef"):
        for step in range(1, 10):
            if trial not in experiment.stopped:
                experiment.report(trial, step, float(i))
    assert experiment.report("worst", 10, 9.0).stops


@pytest.mark.parametrize("seed", range(5))
def test_in_every_order_of_arrival_the_best_survives(seed):
    rng = random.Random(seed)
    experiment = Experiment(rung_rule(2))
    moves = [(trial, step) for trial in range(8) for step in range(1, 17)]
    rng.shuffle(moves)
    moves.sort(key=lambda move: move[1] + rng.uniform(0, 12))
    clock = dict.fromkeys(range(8), 0)
    for trial, _ in moves:
        if trial not in experiment.stopped:
            clock[trial] += 1
            experiment.report(trial, clock[trial], float(trial))
    assert 0 not in experiment.stopped
    assert len(experiment.stopped) >= 4


def test_a_bad_present_loss_with_a_good_forecast_survives():
    experiment = Experiment(rung_rule())
    for trial in "abcde":
        experiment.report(trial, 1, 1.0, mean=0.9)
    assert not experiment.report("slow", 1, 5.0, mean=0.1).stops


def test_deviation_protects_only_as_far_as_the_others_differ():
    def answer(deviation):
        experiment = Experiment(rung_rule(3, caution=0.5))
        for trial, loss in zip("abcde", (1.0, 1.1, 1.2, 1.3, 1.4), strict=True):
            experiment.report(trial, 1, loss)
        close = experiment.report("close", 1, 1.15, deviation=deviation)
        return close.stops, experiment.report("far", 1, 9.0, deviation=deviation).stops

    assert answer(0.0) == (True, True)
    assert answer(100.0) == (False, True)


def test_a_trial_that_can_still_buy_much_survives_a_bad_forecast_but_not_one_far_from_all_others():
    def survives(mean, potential):
        experiment = Experiment(rung_rule(3))
        for trial, loss in zip("abcde", (1.0, 1.1, 1.2, 1.3, 1.4), strict=True):
            experiment.report(trial, 1, loss)
        decision = experiment.report("z", 1, 9.0, mean=mean, potential=potential)
        return not decision.stops

    assert not survives(1.35, None)
    assert survives(1.15, 0.2)
    assert not survives(5.0, 4.5)  # beyond the range of the others a promise is not believed


def test_too_young_trials_are_left_alone():
    experiment = Experiment((Rung(Ladder(10, 2)),))
    assert [experiment.report(t, 9, loss) for t, loss in zip("abc", (1, 2, 99), strict=True)] == [None] * 3


def test_a_single_trial_is_never_pruned():
    experiment = Experiment(rung_rule(2))
    assert not any(d and d.stops for d in (experiment.report("only", step, float(step)) for step in range(1, 100)))


def test_a_failed_leader_does_not_condemn_the_rest():
    experiment = Experiment(rung_rule(2))
    experiment.report("leader", 1, 0.0)
    experiment.ledger.record(Errored("leader"))
    assert not experiment.report("b", 1, 1.0).stops
    assert experiment.report("c", 1, 2.0).stops


@pytest.mark.parametrize("diverges", [True, False])
def test_a_trial_that_comes_back_counts_again_unless_it_diverged(diverges):
    experiment = Experiment(rung_rule(2))
    experiment.report("back", 1, 0.0)
    if diverges:
        experiment.report("back", 2, math.nan)
    experiment.ledger.extend([Errored("back"), Added("back", attempt=1)])
    for trial, loss in (("b", 1.0), ("d", 3.0), ("e", 4.0)):
        experiment.report(trial, 1, loss)
    assert experiment.report("c", 1, 2.0).stops == (not diverges)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_non_finite_trials_stop_at_once_and_say_so(loss):
    decision = Experiment(rung_rule()).report("a", 1, loss)
    assert (decision.action, decision.rule) == (Action.STOP, "nonfinite")
    assert decision.reason == f"The loss at step 1 is {loss}: a trial that has diverged cannot win."


def test_a_step_that_was_answered_gets_the_same_answer_again():
    experiment = Experiment(rung_rule())
    first = experiment.report("a", 1, 1.0)
    for trial in "bcdef":
        experiment.report(trial, 1, 0.0)
    assert experiment.report("a", 1, 1.0) == first
    assert experiment.report("a", 1, math.nan).stops  # unless it has become non-finite on the second run


def test_reasons_quote_the_numbers():
    experiment = Experiment(rung_rule())
    for trial, loss in zip("ab", (0.25, 0.5), strict=True):
        experiment.report(trial, 1, loss)
    assert experiment.report("c", 1, 0.75).reason == (
        "At rung 1 the forecast final loss 0.75 (optimistically 0.75) is behind the best 1 of 3, which end at 0.25."
    )


def test_a_rule_of_ones_own_is_taken_as_it_is_and_an_unknown_name_is_refused():
    own = NonFinite("mine")
    assert rules_named([own, "nonfinite"], Ladder(1)) == (own, NonFinite())
    with pytest.raises(
        ArgumentError,
        match=r"`rules` must name rules out of \['nonfinite', 'rung'\]; got 'median'",
    ):
        rules_named(["median"], Ladder(1))


MOVES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.floats(-2, 2), st.floats(0, 1), st.none() | st.floats(0, 2)), max_size=40
)


@given(MOVES)
def test_at_least_one_trial_always_survives(moves):
    rules = (NonFinite(), Rung(Ladder(1, 2)))
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
