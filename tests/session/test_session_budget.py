"""The time budget of a session, whose clock its work moves on."""

from dataclasses import replace

import pytest

from ray_glocal.session import Settings
from ray_glocal.session.pacing.cost import UPKEEP

from .cases import Run, drive, windows


@pytest.mark.parametrize(("period", "warned"), [(5, 1), (50, 0)])
def test_a_session_with_a_slow_validation_says_so_once(caplog, period, warned):
    """Five batches of a second each against steps of three: .33 of plain training, or a tenth of that."""
    run = Run(total=300, settings=replace(WINDOWS, report_every=period))
    session, _ = clocked(run.session())
    drive(session, session.batches(run.loader))
    assert sum("Reports alone cost" in message for message in caplog.messages) == warned
    if warned:
        assert "cost 33.3 % of plain training, and `overhead` allows 25 % for" in caplog.text


def clocked(session):
    """The session by a clock that its work moves on: a plain step takes 3 seconds, a validation batch 1."""
    clock, adaptation = Clock(), session._adaptation
    session._meter._clock = clock
    session.problem.advance = clock.after(session.problem.advance, lambda *_: 3.0)
    if session.settings.hypergradients == "windows":
        adaptation.tape.step = clock.after(adaptation.tape.step, lambda *_: 3.0)
        adaptation.evaluate = clock.after(adaptation.evaluate, lambda window: 6.6 * len(window.snapshots))
    else:
        adaptation._observe = clock.after(adaptation._observe, lambda: 6.6)
        session.problem.explore = clock.after(session.problem.explore, lambda *_: 3.0)  # the first step
    session.validation.mean = clock.after(session.validation.mean, lambda *_: 1.0 * session.validation.count)
    return session, clock


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def after(self, action, price):
        def priced(*arguments):
            self.now += price(*arguments)
            return action(*arguments)

        return priced


WINDOWS = windows(window=8, search_window=6, report_every=50)
FIRST_ORDER = Settings(window=8, search_window=6, report_every=50, overhead=0.25)
both = pytest.mark.parametrize("told", [WINDOWS, FIRST_ORDER], ids=["windows", "first-order"])


@both
def test_a_session_stays_within_its_budget(told):
    run = Run(total=900, settings=told)
    session, clock = clocked(run.session())
    drive(session, session.batches(run.loader))
    metrics = session.metrics()
    assert metrics["cost/seconds"] == pytest.approx(clock.now)
    assert 0.15 < metrics["cost/overhead"] <= 0.25
    assert len({row.step for row in session.trace.rows}) >= 5


@both
def test_all_that_a_session_does_beside_a_plain_step_is_booked(told):
    """Before and after it; what the loop does between two steps is training, and so is its own schedule."""
    run = Run(total=100, settings=replace(told, overhead=1e-3))
    session, clock = clocked(run.session())
    session._schedule.check_alone = clock.after(session._schedule.check_alone, lambda: 0.25)
    session._schedule.step = clock.after(session._schedule.step, lambda: 0.5)
    session._course.averages.update = clock.after(session._course.averages.update, lambda step: 0.5)
    batches = session.batches(run.loader)
    while not session.done:
        session.step(next(batches))
        clock.now += 1.0
    session._meter.stop()
    reports = 5.0 * 3
    assert session.cost.typical(UPKEEP) == 0.75
    assert session.cost.extra_seconds == 0.75 * 100 + reports
    assert 4.5 * 100 - 3 <= session.cost.plain_seconds <= 4.5 * 100, "what follows a report is nobody's: checkpoints"


def test_a_search_that_has_spent_its_share_ends():
    """And training begins anew at half the rate that it came to."""
    run = Run(total=900, settings=replace(WINDOWS, overhead=0.1, search_region=0.5), start={"lr": 1e-5})
    session, _ = clocked(run.session())
    drive(session, session.batches(run.loader), until=100)
    assert not session.metrics()["searching"]
    searched = [row for row in session.trace.rows if row.hyperparameter == "lr" and row.gate in ("act", "act small")]
    assert 1 <= len(searched) <= 0.6 * 0.1 * 900 / (2.2 * 6)
    assert [row.gate for row in session.trace.rows if row.hyperparameter == "lr"][-1] == "restart"


@pytest.mark.parametrize("told", [WINDOWS, replace(FIRST_ORDER, overhead=0.005)], ids=["windows", "first-order"])
def test_a_search_that_is_not_affordable_never_starts(told):
    run = Run(total=60, settings=told)
    session, _ = clocked(run.session())
    drive(session, session.batches(run.loader))
    assert not session.metrics()["searching"]
    assert session.trace.rows == []


@both
@pytest.mark.parametrize("at", [13, 200, 437])
def test_a_resumed_session_keeps_its_plan_and_what_was_spent(tmp_path, at, told):
    run = Run(total=600, settings=told)
    session, clock = clocked(run.session())
    drive(session, session.batches(run.loader), until=at)
    session.save(tmp_path)
    again = Run(total=600, settings=told)
    resumed, later = clocked(again.session())
    resumed.restore(tmp_path)
    assert resumed.cost == session.cost
    drive(resumed, resumed.batches(again.loader))
    assert resumed.metrics()["cost/seconds"] == pytest.approx(clock.now + later.now)
    assert resumed.metrics()["cost/overhead"] <= 0.25 + 20 / 600
