"""By which rungs and rules trials are judged, as settled when an experiment begins."""

import pytest
from hooks import CONTINUE, SPACE, STOP

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Reported
from ray_glocal.scheduling.rules.rung import Rung
from ray_glocal.scheduling.rungs import Ladder
from ray_glocal.session.pacing.budget import reports_every
from ray_glocal.session.pacing.tuning import COMPARED, THIRDS
from ray_glocal.tune import GlocalSearch
from ray_glocal.tune.rulebook import Rulebook


@pytest.mark.parametrize(("end", "factor"), [(243, 3), (1000, 10)])
def test_trials_are_judged_on_every_rung_below_the_end(begin, end, factor):
    driver = begin(max_t=end, reduction_factor=factor)
    names = [str(k) for k in range(factor)]
    for name in names:
        driver.add(name)
    rungs = [factor**k for k in range(10) if factor**k < end]
    for rung in rungs[:-1]:
        assert {driver.report(name, rung, 1.0) for name in names} == {CONTINUE}
    answers = [driver.report(name, rungs[-1], 1.0 + int(name)) for name in names]
    assert answers == [CONTINUE] * (factor - 1) + [STOP]
    assert [row["step"] for row in driver.scheduler.decisions() if row["trial"] == "0"] == rungs


@pytest.mark.parametrize(
    ("options", "result", "grace"),
    [
        ({"max_t": 270}, {}, 30),
        ({}, {"total_steps": 540}, 400),
        ({"max_t": 270}, {"total_steps": 9}, 400),
        ({}, {}, 1),
        ({"grace_period": 5}, {"total_steps": 540}, 5),
        ({"reduction_factor": 2}, {"total_steps": 80}, 900),
    ],
)
def test_the_grace_period_is_settled_at_the_first_result(begin, options, result, grace):
    driver = begin(**{"grace_period": None, **options})
    driver.add("a")
    driver.report("a", 1, 1.0, **result)
    assert driver.scheduler.ledger.settled("grace_period") == grace


@pytest.mark.parametrize("total", [300, 1200])
def test_sessions_report_where_the_scheduler_compares_them(begin, total):
    driver = begin(grace_period=None)
    driver.add("a")
    driver.report("a", 1, 1.0, total_steps=total)
    ladder = Rulebook.settled(driver.scheduler.ledger).ladder
    rungs = range(ladder.rung(ladder.parts) + 1)
    assert [ladder.parts / ladder.milestone(rung) for rung in rungs] == [COMPARED, THIRDS, THIRDS / 2]
    period = reports_every(0.1, 128, 5 / 3, total)
    steps = range(period, total + 1, period)
    reached = [ladder.rung(ladder.clock(Reported("a", step, 1.0, total=total))) for step in steps]
    for rung in rungs:
        first = steps[reached.index(rung)]
        assert first == pytest.approx(total * ladder.milestone(rung) / ladder.parts, abs=9), "no report stands near it"


def test_a_ledger_tells_the_rulebook_it_was_written_by(begin):
    driver = begin(max_t=30, reduction_factor=4, rules=("rung", "nonfinite"))
    driver.add("a")
    driver.report("a", 1, 1.0)
    ledger = journal.read(journal.write(driver.scheduler.ledger))
    assert Rulebook.settled(ledger) == driver.scheduler._judge.rulebook
    assert [rule.name for rule in Rulebook.settled(ledger).rules] == ["rung", "nonfinite"]
    assert ledger.settled("sign/val_loss") == 1.0


def test_a_rule_of_somebody_elses_is_not_found_by_its_name(begin):
    own = Rung(Ladder(1), caution=7.0)
    driver = begin(rules=[own, "nonfinite"])
    driver.add("a")
    driver.report("a", 1, 1.0)
    with pytest.raises(
        ArgumentError, match=r"`rules` must be the library's own to be found by name; got 'rung'. Replay"
    ):
        Rulebook.settled(driver.scheduler.ledger)
    assert Rulebook.settled(driver.scheduler.ledger, [own]).rules == (own,)


def test_an_experiment_goes_on_by_the_rulebook_that_it_began_with(begin, caplog):
    driver = begin(max_t=9)
    driver.add("a")
    driver.report("a", 1, 1.0)
    again = begin(max_t=9, reduction_factor=5)
    again.add("b")
    again.report("b", 1, 2.0)
    assert again.scheduler._judge.ladder == Ladder(1, 3, 9)
    assert (
        "goes on with Ladder(grace=1, factor=3, top=9, parts=0), as it began; Ladder(grace=1, factor=5" in caplog.text
    )


def test_a_ledger_without_a_scheduler_has_no_rulebook():
    with pytest.raises(
        ArgumentError, match=r"`ledger` must hold the settings grace_period, .*; got \[None, None, None\]"
    ):
        Rulebook.settled(GlocalSearch(SPACE).ledger)


def test_tunes_own_stopping_criterion_tells_the_end(begin):
    driver = begin(grace_period=None)
    driver.scheduler.set_search_properties(None, None, stop={"training_iteration": 81})
    driver.add("a")
    driver.report("a", 1, 1.0)
    assert driver.scheduler.ledger.settled("grace_period") == 9
