"""What a session says is said once, and is found in its log, its metrics and its checkpoints."""

import pytest

from ray_glocal.session.notices import Notices

from .cases import WAYS, Run, drive


def test_a_thing_is_said_once_and_kept(caplog):
    notices = Notices()
    notices.say("a", "the first\n  text")
    notices.say("b", "another")
    notices.say("a", "the same in other words")
    assert caplog.messages == ["the first text", "another"]
    assert notices.texts == ("the first text", "another")
    assert notices.metrics() == {"warnings": 2, "warning": "the first text\nanother"}


def test_nothing_said_is_no_text():
    assert Notices().metrics() == {"warnings": 0, "warning": ""}


def test_a_resumed_run_knows_what_was_said_and_does_not_repeat_it(caplog):
    before, after = Notices(), Notices()
    before.say("a", "from before")
    after.say("c", "at the start")
    after.load_plain(before.as_plain())
    after.say("a", "again")
    assert after.texts == ("from before", "at the start")
    assert caplog.messages == ["from before", "at the start"]


@pytest.mark.parametrize("way", WAYS)
def test_warnings_travel_in_metrics_and_checkpoints(tmp_path, way):
    run = Run(settings=WAYS[way])
    session = run.session()
    session.notices.say("mine", "mind the step")
    drive(session, session.batches(run.loader), until=20)
    assert session.metrics()["warning"] == "mind the step"
    session.save(tmp_path)
    again = Run(settings=WAYS[way]).session()
    again.restore(tmp_path)
    assert again.metrics()["warnings"] == 1
    assert again.metrics()["warning"] == "mind the step"
