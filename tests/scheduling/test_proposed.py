"""What the searcher knows of its trials: the arrays against a naive twin that reads the ledger's records."""

import itertools
import math

import numpy as np
import pytest
from histories import histories
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported
from ray_glocal.scheduling.factor import Factor, Space
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.proposed import ProposedTrials
from ray_glocal.scheduling.seeding import propose

SPACE = Space((Factor("width", 4, places=(0.0, 0.2, 0.6, 1.0)), Factor("optimizer", 3, decisive=True)), ())


def bounded(loss):
    return 1e100 if math.isnan(loss) else float(np.clip(loss, -1e100, 1e100))


def naive(ledger):
    """TrialTable by trial, from the records and the list of events alone."""
    table = {}
    for trial, record in ledger.trials.items():
        levels = record.added.levels
        if not record.added.origin or len(levels) != 2 or levels[0] > 3 or levels[1] > 2:
            continue
        reports = [e for e in ledger.events if isinstance(e, Reported) and e.trial == trial]
        latest = [e for i, e in enumerate(reports) if all(e.step > other.step for other in reports[:i])]
        forecasts = [e for e in latest if e.mean is not None]
        over = not record.running
        told = latest[-1:] if (over and not record.pruned) or not forecasts else forecasts[-1:]
        failed = record.diverged or record.status == "errored"
        table[trial] = (
            levels,
            bool(told) and (over or bool(forecasts)) and not failed,
            failed,
            record.pruned,
            record.running and not forecasts and not record.diverged,
            bounded(told[0].final) if told else 0.0,
            bounded(told[0].deviation or 0.0) if told else 0.0,
        )
    return table


def kept(table):
    """The same from the arrays."""
    columns = (table.usable, table.failed, table.pruned, table.waiting, table.final, table.deviation)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    levels = [tuple(table.levels[number].tolist()) for number in table.configuration]
    return {trial: (own, *row) for trial, own, row in zip(table.trials, levels, rows, strict=True)}


@given(histories)
def test_the_arrays_equal_their_naive_twin_after_every_event(events):
    ledger = Ledger()
    for event in events:
        ledger.record(event)
        assert repr(kept(ledger.view(ProposedTrials(SPACE)))) == repr(naive(ledger))


@given(histories, st.integers(0, 3))
def test_a_proposal_depends_on_the_events_alone_and_survives_the_journal(events, cover):
    ledger = Ledger()
    for event in events:
        ledger.record(event)
        propose(ledger, SPACE, 0, cover)  # a view that was asked on the way answers as a fresh one
    proposal = propose(ledger, SPACE, 0, cover)
    assert propose(Ledger(events), SPACE, 0, cover) == proposal
    assert propose(journal.read(journal.write(ledger)), SPACE, 0, cover) == proposal


def test_the_arrays_outgrow_their_first_size():
    ledger, table = Ledger(), None
    for i in range(100):
        ledger.record(Added(str(i), levels=(i % 4, i % 3), origin="cover"))
        ledger.record(Reported(str(i), 1, float(i), float(i)))
        table = ledger.view(ProposedTrials(SPACE))
    assert table.final.tolist() == list(range(100))
    assert kept(table) == naive(ledger)
    pairs = [(i % 4, i % 3) for i in range(100)]
    assert all(table.tried(levels) == pairs.count(levels) for levels in itertools.product(range(4), range(3)))


def rows(*told):
    ledger = Ledger()
    for name, levels, loss in told:
        ledger.record(Added(name, levels=levels, origin="cover"))
        ledger.record(Reported(name, 1, loss, loss))
    return ledger.view(ProposedTrials(SPACE))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([("far", (3, 0), 1.0), ("near", (1, 0), 1.0)], "near"),
        ([("other optimizer", (0, 1), 0.0), ("far", (3, 0), 9.0)], "far"),
        ([("same but bad", (0, 0), 9.0), ("near and good", (1, 0), 1.0)], "near and good"),
        ([("same but bad", (0, 0), 9.0), ("far and good", (3, 0), 1.0)], "same but bad"),
        ([("diverged", (0, 0), math.nan), ("far", (3, 0), 9.0)], "far"),
        ([("first", (0, 0), 1.0), ("second", (0, 0), 1.0)], "first"),
        ([("other optimizer", (0, 1), 0.0)], None),
        ([], None),
    ],
)
def test_values_come_from_kin_that_is_near_and_good(told, expected):
    assert rows(*told).nearest((0, 0), spread=1.0) == expected


def test_another_category_weighs_more_than_any_loss():
    space = Space((Factor("activation", 2),), ())
    ledger = Ledger()
    for name, level, loss in (("same", 0, 1e300), ("other", 1, 0.0)):
        ledger.extend([Added(name, levels=(level,), origin="cover"), Reported(name, 1, loss, loss)])
    assert ledger.view(ProposedTrials(space)).nearest((0,), spread=1e-100) == "same"


def test_an_old_attempts_end_that_arrives_late_changes_nothing():
    ledger = Ledger([Added("a", levels=(0, 0), origin="cover"), Reported("a", 1, 1.0, 1.0)])
    ledger.extend([Errored("a", 0), Added("a", attempt=1), Errored("a", 0, final=False), Completed("a", 0)])
    table = ledger.view(ProposedTrials(SPACE))
    assert (table.usable.tolist(), table.failed.tolist()) == ([True], [False])
    ledger.record(Reported("a", 2, 9.0))
    assert table.expected("a") == 1.0  # it runs on, so its last loss is not its end
    assert kept(table) == naive(ledger)


def test_a_failed_configuration_is_hopeless_once_another_one_works():
    ledger = Ledger([Added("a", levels=(0, 0), origin="cover"), Errored("a")])
    assert not ledger.view(ProposedTrials(SPACE)).hopeless(2.0).any()
    ledger.extend([Added("b", levels=(1, 0), origin="cover"), Reported("b", 1, 1.0, 1.0)])
    assert np.array_equal(ledger.view(ProposedTrials(SPACE)).hopeless(2.0), [True, False])


def test_a_loss_on_the_way_says_nothing_but_the_forecast_and_the_end_do():
    ledger = Ledger([Added("a", levels=(0, 0), origin="cover"), Reported("a", 1, 9.0)])

    def told():
        table = ledger.view(ProposedTrials(SPACE))
        return table.usable.tolist(), table.waiting.tolist(), table.expected("a")

    assert told() == ([False], [True], 9.0)
    ledger.record(Reported("a", 3, 7.0, 2.0, 0.1))
    assert told() == ([True], [False], 2.0)
    ledger.record(Reported("a", 4, 6.0))
    assert told() == ([True], [False], 2.0)
    pruned = Ledger([*ledger.events, Decision("a", 4, Action.STOP, "rung", "2 > 1."), Completed("a")])
    assert pruned.view(ProposedTrials(SPACE)).expected("a") == 2.0
    ledger.extend([Reported("a", 9, 2.5), Completed("a")])
    assert told() == ([True], [False], 2.5)
