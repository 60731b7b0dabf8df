"""Snapshots of the ledger: the same text as if it had been written anew, and each event encoded once."""

import copy
from pathlib import Path

import pytest
from histories import histories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_glocal.scheduling import journal
from ray_glocal.scheduling.event import Added, Reported
from ray_glocal.scheduling.ledger import Ledger
from ray_glocal.scheduling.snapshot import LedgerSnapshot


def reports(trial, count, begin=0):
    return [Added(trial), *(Reported(trial, step, 1.0 / (step + 1)) for step in range(begin, begin + count))]


def cut(file):
    file.write_bytes(file.read_bytes()[:-3])


def longer(file):
    file.write_bytes(file.read_bytes() + b"more\n")


ACCIDENTS = {"none": lambda file: None, "removed": Path.unlink, "cut": cut, "longer": longer}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_snapshot_is_what_would_be_written_anew_whatever_happened_to_the_one_before(tmp_path, data):
    for file in tmp_path.iterdir():
        file.unlink()
    ledger = Ledger()
    snapshot = LedgerSnapshot(ledger)
    for _ in range(data.draw(st.integers(1, 5))):
        events = data.draw(histories)
        if data.draw(st.booleans()):
            ledger.replace(Ledger(events))
        else:
            ledger.extend(events)
        target = tmp_path / data.draw(st.sampled_from(["one", "two"]))
        snapshot.write(target)
        assert target.read_text() == journal.write(ledger)
        assert journal.read(target.read_text()) == ledger
        ACCIDENTS[data.draw(st.sampled_from(sorted(ACCIDENTS)))](target)


@pytest.fixture
def encoded(monkeypatch):
    """Events in the order in which they were encoded."""
    events, original = [], journal.lines
    monkeypatch.setattr(journal, "lines", lambda new: original(events.append(event) or event for event in new))
    return events


def test_each_event_is_encoded_once(tmp_path, encoded):
    ledger = Ledger()
    snapshot = LedgerSnapshot(ledger)
    for step in range(5):
        ledger.extend(reports("a", 3, begin=3 * step))
        snapshot.write(tmp_path / "state")
    assert encoded == list(ledger.events)


def test_a_ledger_that_was_replaced_by_one_as_long_is_written_anew(tmp_path):
    ledger = Ledger(reports("a", 3))
    snapshot = LedgerSnapshot(ledger)
    snapshot.write(tmp_path / "state")
    ledger.replace(Ledger(reports("b", 3)))
    snapshot.write(tmp_path / "state")
    assert journal.read((tmp_path / "state").read_text()) == ledger


def test_copies_go_on_from_the_same_snapshot_each_with_its_own_events(tmp_path, encoded):
    snapshot = LedgerSnapshot(Ledger(reports("a", 3)))
    snapshot.write(tmp_path / "state")
    other = copy.deepcopy(snapshot)
    for one, name in ((snapshot, "b"), (other, "c"), (snapshot, "d")):
        one._ledger.extend(reports(name, 1))
        one.write(tmp_path / "state")
        assert (tmp_path / "state").read_text() == journal.write(one._ledger)
    assert len(encoded) > len(snapshot._ledger)  # the third found the other's file in the place of its own


def test_after_a_full_disk_the_next_snapshot_is_whole(tmp_path):
    ledger = Ledger(reports("a", 3))
    snapshot = LedgerSnapshot(ledger)
    snapshot.write(tmp_path / "state")
    before = (tmp_path / "state").read_text()
    ledger.extend(reports("b", 3))
    (tmp_path / "state.unfinished").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        snapshot.write(tmp_path / "state")
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state").read_text() == before
    snapshot.write(tmp_path / "state")
    assert (tmp_path / "state").read_text() == journal.write(ledger)
