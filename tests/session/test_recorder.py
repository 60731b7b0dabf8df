"""Windows that fail: how long the next one waits, and that a resumed run knows."""

import pytest

from ray_glocal.session.windows.recorder import NEVER, Recorder
from ray_glocal.session.windows.tuning import TRIES

from .cases import windows


class Always:
    """A timetable on which a window may start at any time."""

    def searches(self, step):
        return True

    def starts(self, step):
        return True


def starts(recorder, step):
    return recorder.wants(step, searching=False)


def recorder():
    return Recorder(windows(), Always())


def test_after_several_failures_the_next_window_waits_as_long_as_training_took():
    told = recorder()
    for step in range(10, 10 + TRIES):
        assert starts(told, step)
        told.fail(step)
    last = 10 + TRIES - 1
    assert not starts(told, 2 * last - 1)
    assert starts(told, 2 * last)


def test_a_success_wipes_failures_out():
    told = recorder()
    for step in range(2 * TRIES):
        told.fail(step)
        told.succeed()
        assert starts(told, step)


def test_where_nothing_can_be_run_twice_no_further_window_starts():
    told = recorder()
    told.fail(5, again=False)
    assert not starts(told, 10**12)
    assert NEVER > 10**12


@pytest.mark.parametrize("again", [True, False])
def test_a_resumed_run_knows_how_windows_fared(again):
    told, fresh = recorder(), recorder()
    for step in range(TRIES - 1):
        told.fail(step, again=again)
    fresh.load_plain(told.as_plain())
    told.fail(20, again=again)
    fresh.fail(20, again=again)
    assert fresh.as_plain() == told.as_plain()
    assert [starts(fresh, step) for step in (21, 39, 40, 10**9)] == [starts(told, step) for step in (21, 39, 40, 10**9)]
