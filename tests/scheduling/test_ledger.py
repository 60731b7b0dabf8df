import pytest
from histories import histories
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.errors import ArgumentError
from ray_glocal.scheduling import journal
from ray_glocal.scheduling.decision import Action, Decision
from ray_glocal.scheduling.event import Added, Completed, Errored, Reported, Settled
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.rungs import Ladder


def answers(ledger: Ledger) -> dict[str, object]:
    """Everything that a rule may ask, including a view."""
    rungs = ledger.view(Ladder(1, 3))
    places = {trial: rungs.place(trial) for trial in ledger.trials}
    return {
        "trials": ledger.trials,
        "live": sorted(ledger.live),
        "at work": ledger.at_work,
        "proposals": ledger.proposals,
        "decisions": ledger.decisions,
        "best": ledger.best(),
        "places": places,
        "populations": [rungs.population(k) for k in range(5)],
        "survivors": rungs._survivors,
        "settled": ledger.settled("grace_period"),
    }


@given(histories, st.data())
def test_a_replayed_event_changes_nothing(history, data):
    ledger = Ledger(history)
    before, known = answers(ledger), ledger.events
    again = data.draw(st.lists(st.sampled_from(history), max_size=10) if history else st.just([]))
    assert [ledger.record(event) for event in again] == [False] * len(again)
    assert repr(answers(ledger)) == repr(before)
    assert repr(ledger.events) == repr(known)


@given(histories)
def test_a_loaded_ledger_is_indistinguishable_from_the_one_dumped(history):
    ledger = Ledger(history)
    restored = journal.read(journal.write(ledger))
    assert restored == ledger
    assert restored.torn == ""
    assert repr(answers(restored)) == repr(answers(ledger))


def test_a_ledger_from_before_proposals_told_their_reason_loads():
    row = (
        '{"event":"added","trial":"a","config":{},"attempt":0,"ancestor":null,"levels":[1],"start":{},"origin":"cover"}'
    )
    (event,) = journal.read(f"{journal.HEADER}\n{row}\n").events
    assert event == Added("a", levels=(1,), origin="cover", reason="")


@given(histories)
def test_views_kept_up_to_date_equal_views_made_afterwards(history):
    early = Ledger()
    early.view(Ladder(1, 3))
    early.extend(history)
    assert repr(answers(early)) == repr(answers(Ledger(history)))


@given(histories, st.integers(0, 10_000))
def test_a_journal_cut_anywhere_loses_at_most_its_torn_record(history, cut):
    ledger = Ledger(history)
    text = journal.write(ledger)
    cut = cut % (len(text) + 1)
    restored = journal.read(text[:cut])
    whole = max(text[:cut].count("\n") - 1, 0)  # records before the cut that end in a newline
    assert restored == Ledger(ledger.events[:whole])
    assert bool(restored.torn) == (cut > 0 and text[cut - 1] != "\n")


@given(histories, histories)
def test_appending_lines_equals_writing_the_whole(first, second):
    ledger = Ledger(first)
    text, position = journal.write(ledger), len(ledger)
    ledger.extend(second)
    assert text + journal.lines(ledger.since(position)) == journal.write(ledger)


def test_nan_survives_strict_json():
    ledger = Ledger([Reported("a", 1, float("nan"))])
    text = journal.write(ledger)
    assert "NaN" not in text
    assert journal.read(text).trial("a").diverged


def test_a_restored_ledger_is_seen_by_whoever_holds_the_old_one():
    held = Ledger([Added("old")])
    rungs = Ladder(1, 3)
    held.view(rungs)
    held.replace(Ledger([Added("new"), Reported("new", 1, 0.5)]))
    assert list(held.trials) == ["new"]
    assert held.view(rungs).population(0) == 1


def test_iterations_that_go_back_leave_the_latest_report_alone():
    ledger = Ledger([Added("a"), Reported("a", 4, 1.0), Reported("a", 6, 0.5)])
    ledger.extend([Errored("a", 0, final=False), Added("a", attempt=1), Reported("a", 4, 9.0), Reported("a", 5, 8.0)])
    assert ledger.trial("a").latest == Reported("a", 6, 0.5)
    assert ledger.trial("a").attempt == 1
    assert ledger.live == {"a"}


def test_an_end_of_an_old_attempt_does_not_end_the_new_one():
    ledger = Ledger([Added("a"), Added("a", attempt=1), Completed("a", 0)])
    assert ledger.trial("a").running


def test_a_trial_that_was_to_come_back_may_be_given_up():
    ledger = Ledger([Added("a"), Errored("a", 0, final=False)])
    assert ledger.live == {"a"}
    ledger.record(Errored("a", 0, final=True))
    assert ledger.trial("a").status == "errored"
    assert not ledger.live


def test_best_skips_failed_diverged_and_silent_trials():
    ledger = Ledger([Reported("nan", 1, float("nan")), Reported("dead", 1, 0.1), Errored("dead"), Added("silent")])
    assert ledger.best() is None
    ledger.extend([Reported("b", 1, 0.9, mean=0.4), Reported("c", 1, 0.5), Completed("c")])
    assert ledger.best() == "b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("something else\n", r"`ledger` must begin with \{\"ray_glocal_ledger\": 1\}; got 'something else'"),
        ('{"ray_glocal_ledger": 2}\n', r"Read it with the version of ray_glocal that wrote it"),
        ("x", r"`ledger` must begin with"),
        (journal.HEADER + '\n{"event":\n{"event":"settled","name":"g","value":1}\n', r"whole record on line 2"),
    ],
)
def test_a_damaged_journal_is_refused_with_the_place(text, message):
    with pytest.raises(ArgumentError, match=message):
        journal.read(text)


def test_a_torn_record_that_kept_its_newline_is_dropped_too():
    text = journal.write(Ledger([Settled("g", 1)])) + '{"event":"rep\n'
    restored = journal.read(text)
    assert len(restored) == 1
    assert restored.torn == 'The last record was torn by a crash and is dropped: \'{"event":"rep\'.'


def test_an_empty_file_is_an_empty_ledger():
    assert journal.read("") == Ledger()


def test_a_decision_without_a_reason_is_refused():
    with pytest.raises(ArgumentError, match="`reason` must be a sentence; got ' '"):
        Decision("a", 1, Action.STOP, "rung", " ")


def test_what_is_whole_of_a_damaged_journal_is_kept_and_the_loss_told():
    ledger = Ledger([Added("a"), Reported("a", 1, 0.5), Reported("a", 2, 0.4), Completed("a")])
    rows = journal.write(ledger).split("\n")
    rows[2] = rows[2][:9] + "\0" + rows[2][9:]
    left = journal.salvage("\n".join(rows))
    assert left.events == (ledger.events[0], *ledger.events[2:])
    assert left.torn == "1 damaged lines are dropped, the first is line 3; 3 events are left."
    assert journal.salvage("\n".join(["rubbish", *rows[1:2]])).events == ledger.events[:1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rubbish\nmore\n", r"`ledger` must hold at least one whole record; got 'rubbish'. Restore it from a backup"),
        ('{"ray_glocal_ledger": 9}\n', r"`ledger` must begin with .* Read it with the version of ray_glocal"),
    ],
)
def test_what_holds_nothing_or_is_of_another_version_is_not_salvaged(text, message):
    with pytest.raises(ArgumentError, match=message):
        journal.salvage(text)


@given(histories, histories)
def test_how_many_are_at_work_is_how_many_are_live(first, second):
    ledger = Ledger(first)
    assert ledger.at_work == len(ledger.live)
    ledger.replace(Ledger(first))
    for event in second:
        ledger.record(event)
        assert ledger.at_work == len(ledger.live)
    for trial in sorted(ledger.trials):
        ledger.back(trial)
        assert ledger.at_work == len(ledger.live)


def test_what_was_live_in_a_restored_memory_is_away_until_somebody_tells_of_it():
    held = Ledger()
    held.replace(Ledger([Added("a"), Added("b"), Added("c"), Added("d"), Completed("d")]))
    assert held.live == frozenset()
    assert held.away == {"a", "b", "c"}
    held.back("a")
    held.record(Added("b"))  # a repetition tells of it too
    assert held.live == {"a", "b"}
    assert held.away == {"c"}
