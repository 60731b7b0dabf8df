"""How a trial ended is derived in one place: the account, the list of failures and the progress display agree."""

import pytest

from ray_glocal.report.account import summarised
from ray_glocal.report.ending import ending
from ray_glocal.report.experiment import Experiment
from ray_glocal.report.failure import failures
from ray_glocal.report.trial import Run
from ray_glocal.scheduling.event import Added
from ray_glocal.scheduling.ledger import Record

# What the ledger knows, Tune's word, whether there are results, whether there is an error: how the trial ended.
ENDINGS = [
    (None, "TERMINATED", True, False, "done"),
    (None, "TERMINATED", True, True, "done"),  # it came back after the error
    (None, "TERMINATED", False, True, "failed"),  # an error ended the experiment
    (None, "TERMINATED", False, False, "stopped"),
    ("errored", "TERMINATED", True, True, "failed"),  # so it did, and the trial had reported
    ("lost", "TERMINATED", True, False, "done"),
    ("live", "TERMINATED", True, False, "done"),  # the ledger is older
    ("completed", "ERROR", True, True, "failed"),
    (None, "ERROR", False, False, "failed"),
    ("live", "RUNNING", True, False, "running"),
    ("completed", "RUNNING", True, False, "done"),  # Tune's snapshot is older
    ("completed", "PENDING", True, False, "done"),
    ("completed", "PAUSED", True, False, "done"),
    ("errored", "PENDING", True, True, "failed"),
    ("lost", "RUNNING", True, False, "lost"),
    (None, "RUNNING", True, True, "running"),  # it may have come back after the error
    (None, "", True, True, "failed"),
    (None, "", False, True, "failed"),
    ("retrying", "PENDING", True, True, "waiting"),
    (None, "PAUSED", True, False, "paused"),
    ("completed", "", True, False, "done"),
    ("errored", "", True, True, "failed"),
    ("retrying", "", True, True, "retrying"),
    ("lost", "", True, False, "lost"),
    ("live", "", False, False, "running"),
    (None, "", True, False, "unknown"),
]


def record_of(known):
    return None if known is None else Record(Added("a"), status=known)


@pytest.mark.parametrize(("known", "status", "results", "error", "told"), ENDINGS)
def test_an_ending_follows_from_the_ledger_and_tunes_word(known, status, results, error, told):
    assert ending(record_of(known), status, results=results, error=error) == told


@pytest.mark.parametrize(("known", "status", "results", "error", "told"), ENDINGS)
def test_account_and_failures_tell_the_same(known, status, results, error, told):
    rows = ({"val_loss": 1.0, "step": 1},) if results else ()
    run = Run("a", {}, rows, status, record_of(known), error="Failure # 1\n" if error else "")
    account = summarised(Experiment("e", "/e", "val_loss", "min", (run,)))
    assert account.trials[0].status == ("done" if told == "stopped" else told)
    assert [each.trials for each in failures((run,))] == ([("a",)] if told == "failed" else [])
