"""Rungs that are shares of each trial's own training: who is compared with whom, and when."""

import math
from dataclasses import replace

import pytest

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.attained import Lowest
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rules import judge
from ray_glocal.scheduling.rules.rung import Rung
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.scheduling.tuning import PARTS

LADDER = Ladder(PARTS // 9, 3, PARTS, PARTS)


def report(trial, share, loss, total=1000, **told):
    return Reported(trial, share * total, loss, loss, 0.01, total=total, **told)


def answers(reports):
    """What each report is answered, in order."""
    ledger, given = Ledger(), []
    for event in reports:
        if ledger.trial(event.trial) is None:
            ledger.record(Added(event.trial))
        ledger.record(event)
        decision = judge(ledger, event, (Rung(LADDER),))
        if decision is not None:
            ledger.record(decision)
        given.append(None if decision is None else decision.action)
    return ledger, given


@pytest.mark.parametrize("scale", [0.01, 1, 37])
def test_trials_of_different_lengths_meet_at_the_same_share_of_their_own(scale):
    """The same stories told in other steps end in the same way, whatever the length of each."""
    story = [("a", 0.12, 1.0), ("b", 0.13, 2.0), ("c", 0.12, 3.0), ("a", 0.35, 0.9), ("b", 0.34, 1.5), ("c", 0.4, 2.9)]
    alike = answers([report(trial, share, loss) for trial, share, loss in story])[1]
    lengths = {"a": 100 * scale, "b": 1000 * scale, "c": 7000 * scale}
    assert answers([report(trial, share, loss, lengths[trial]) for trial, share, loss in story])[1] == alike
    assert Action.STOP in alike


def test_the_reason_names_the_share():
    ledger, _ = answers([report("a", 0.12, 1.0)])
    assert ledger.decisions[0].reason.startswith("At 11% of training the forecast final loss 1 ")


BEST = [report(name, 0.12, loss) for name, loss in (("a", 0.1), ("b", 0.2), ("c", 0.3))]


@pytest.mark.parametrize(
    ("told", "stops"),
    [
        ({}, True),
        ({"searching": True}, False),
        ({"age": 120.0}, True),
        ({"age": 20.0}, False),  # it began anew when it had a tenth of its training behind it
    ],
)
def test_nobody_is_stopped_while_a_rate_is_searched_for_or_after_a_new_beginning(told, stops):
    bad = report("z", 0.12, 9.0, potential=0.0, **told)
    assert (answers([*BEST, bad])[1][-1] is Action.STOP) is stops


def test_what_a_trial_came_to_before_it_began_anew_sets_no_bar():
    phantom = report("z", 0.12, 0.0, age=120.0)
    anew = report("z", 0.2, 5.0, age=10.0)
    ledger, _ = answers([*BEST, phantom])
    assert ledger.view(LADDER).better(0, 0.05) == 1
    ledger.record(anew)
    assert (ledger.view(LADDER).population(0), ledger.view(LADDER).better(0, 0.05)) == (3, 0)
    assert ledger.view(LADDER).place("z") is None


@pytest.mark.parametrize("count", range(4, 40))
def test_however_often_a_training_is_reported_it_is_judged_on_all_rungs(count):
    """Of ten epochs none ends between a ninth and a sixth of training, between .3 and .4, or at two thirds."""
    rungs = answers([report("a", number / count, 1.0) for number in range(1, count)])[0].view(LADDER)
    place = rungs.place("a")
    assert sorted(place.entries) == [0, 1, 2]
    assert place.step <= 750


def test_a_report_well_before_a_share_of_training_does_not_stand_for_it():
    rungs = answers([report("a", 0.09, 1.0), report("b", 0.27, 1.0)])[0].view(LADDER)
    assert rungs.place("a") is None
    assert rungs.place("b").rung == 0


def test_those_that_inherit_weights_are_compared_with_each_other():
    heirs = [replace(event, trial=f"heir {event.trial}", loss=0.01, mean=0.01, inherited=500.0) for event in BEST]
    ledger, given = answers([*heirs, *BEST])
    assert ledger.view(LADDER).population(0) == ledger.view(LADDER.beside(heirs[0])).population(0) == 3
    assert given[3:] == answers(BEST)[1], "those that start afresh are answered as if there were no heirs"


def test_a_trial_that_does_not_say_when_it_ends_is_not_judged():
    assert answers([*BEST, Reported("z", 500.0, 9.0, 9.0, 0.01)])[1][-1] is None


@pytest.mark.parametrize(
    "event", [report("a", 0.2, 1.0, age=3.0, inherited=7.0, searching=True), report("a", 0.2, 1.0)]
)
def test_what_a_report_says_of_its_weights_survives_on_disk(event):
    ledger = Ledger([event])
    assert journal.read(journal.write(ledger)) == ledger


def test_forecasts_are_held_against_what_was_reached_once_a_trial_has_come_to_its_end():
    ledger = Ledger([Reported("a", 1.0, 0.5), Reported("b", 1.0, 0.3), Reported("c", 1.0, math.nan)])
    pruned = Decision("b", 1.0, Action.STOP, "rung", "Behind.")
    least = [ledger.view(Lowest()).least(0.9, 0.1)]
    for event in (pruned, Completed("b"), Completed("a")):
        ledger.record(event)
        least.append(ledger.view(Lowest()).least(0.9, 0.1))
    assert least == [-math.inf, -math.inf, -math.inf, 0.3 - 0.1]
    assert ledger.view(Lowest()).least(0.2, None) == 0.2, "its own loss counts"
    assert ledger.view(Lowest()).least(math.nan, None) == -math.inf


def test_forecasts_from_before_the_first_end_are_held_against_it_as_those_after_it_are():
    """Bold forecasts alike: the end shows that nobody comes as low, and who comes later must not pay for it alone."""
    bold = [Reported(name, 120.0, 1.0, mean, 0.01, total=1000.0) for name, mean in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    ledger, _ = answers([*bold, report("a", 1.0, 0.5)])
    ledger.record(Completed("a"))
    floor = 0.5 - 0.01
    rungs = ledger.view(LADDER)
    assert [rungs.place(name).entries[0] for name in "abc"] == [floor] * 3
    assert [rungs.better(0, value) for value in (floor, math.nextafter(floor, 1))] == [0, 3]
    later = Reported("z", 120.0, 1.0, floor, 0.01, total=1000.0)  # as bold as "a" was, and held against its end
    ledger.record(later)
    assert judge(ledger, later, (Rung(LADDER),)).action is Action.CONTINUE
    assert vars(Ledger(ledger.events).view(LADDER))["_population"] == vars(rungs)["_population"]
