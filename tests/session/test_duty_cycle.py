"""Windows by a duty cycle: how many, and where they end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_glocal.session.pacing.timetable import DutyCycle
from ray_glocal.session.windows.recorder import Recorder

from .cases import windows


@given(st.integers(4, 12), st.floats(0.1, 1.0), st.integers(1, 400))
def test_the_duty_cycle_is_what_the_settings_say(window, duty, total):
    settings = windows(window=window, duty_cycle=duty)
    timetable = DutyCycle(settings, total)
    recorder, recorded, ends = Recorder(settings, timetable), 0, []
    for step in range(total):
        left = timetable.hypergradients_left(step)
        if recorder.wants(step, searching=False):
            recorder.snapshots.append(step)
            recorded += 1
        if recorder.full(searching=False):
            ends.append(step + 1)
            assert recorder.snapshots == list(range(step + 1 - window, step + 1)), "steps that follow each other"
            recorder.drop()
            assert timetable.hypergradients_left(step + 1) == left - 1
    assert not recorder.snapshots, "no window straddles the end"
    assert timetable.hypergradients_left(0) == len(ends)
    assert all(end < total and end % settings.period == 0 for end in ends)
    whole = (total - 1) // settings.period
    assert recorded == whole * window
    if whole:
        assert recorded / (whole * settings.period) == pytest.approx(duty, rel=0.5 / (window / duty - 0.5) + 1e-9)


@given(st.integers(4, 9), st.integers(1, 40))
def test_search_windows_follow_each_other(length, total):
    settings = windows(search_window=length, duty_cycle=0.5)
    recorder, count = Recorder(settings, DutyCycle(settings, total)), 0
    for step in range(total):
        if recorder.wants(step, searching=True):
            recorder.snapshots.append(step)
        if recorder.full(searching=True):
            count += 1
            recorder.drop()
    assert not recorder.snapshots
    assert count == (total - 1) // length
