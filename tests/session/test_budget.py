"""The time budget, on a simulated clock: what is spent is what the costs say, and nothing waits for a real one."""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.session import Settings
from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.budget import Budget, Prices, reports_every
from ray_glocal.session.pacing.cost import PLAIN, REPORT, UPKEEP, WINDOW, Cost, window_steps
from ray_glocal.session.pacing.cost import SEARCH as SEARCHED
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.pacing.timetable import BudgetTimetable
from ray_glocal.session.pacing.tuning import COMPARING, FRONT, LEARN, REPORTS, SEARCH_SHARE, WANTED, WARM_UP
from ray_glocal.session.windows.recorder import Recorder

from .cases import Run, drive, windows

CPU = torch.device("cpu")


@dataclass
class Training:
    """A training of known costs, in the order in which a session books them.

    Args:
        total: Inner steps.
        overhead: The budget.
        plain: Seconds of plain steps, in turn.
        windows: Seconds of windows beyond their plain steps, in turn; a search window takes half of that.
        report: Seconds of a report.
        upkeep: Seconds of bookkeeping beside a step.
        search: Windows that the search would like to have.
        first: How much longer first calls take.
    """

    total: int
    overhead: float
    plain: tuple[float, ...] = (1.0,)
    windows: tuple[float, ...] = (40.0,)
    report: float = 0.0
    upkeep: float = 0.0
    search: int = 6
    first: float = 1.0
    now: float = 0.0
    ends: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self):
        self.told = windows(overhead=self.overhead)
        self.cost = Cost()
        self.build()

    def build(self):
        """What a new process makes anew."""
        budget = Budget(self.overhead, self.overhead, self.total, self.told.period)
        self.meter = Meter(self.cost, CPU, lambda: self.now)
        counted = {
            SEARCHED: window_steps("adjoint", 8, 0, 3, 4),
            WINDOW: window_steps("adjoint", 16, 0, 3, 4),
            REPORT: 0,
        }
        self.timetable = BudgetTimetable(lambda: budget, self.told, self.cost, counted.__getitem__, Notices())
        self.recorder = Recorder(self.told, self.timetable)

    def pay_report(self, first=1.0):
        self.meter.start(REPORT)
        self.now += self.report * first
        self.meter.complete(REPORT)

    def run(self, start=0, end=None):
        if start == 0:
            self.pay_report(self.first)
        for step in range(start, self.total if end is None else end):
            self.take(step)
        return self

    def take(self, step):
        searching = self.search > 0
        self.meter.aside()
        wanted = self.recorder.wants(step, searching=searching)
        self.now += self.upkeep / 4
        kind = SEARCHED if searching else WINDOW
        self.meter.start(kind if wanted else PLAIN)
        self.now += self.plain[step % len(self.plain)]
        self.meter.step()
        self.now += self.upkeep * 3 / 4
        if wanted:
            self.recorder.snapshots.append(step)
        if self.recorder.full(searching=searching):
            self.close(step + 1, kind)
        if searching and not self.recorder.snapshots and self.timetable.exhausted(step + 1):
            self.search = 0
            self.timetable.plan(step + 1)
        if (step + 1) % self.told.period == 0 or step + 1 == self.total:
            self.pay_report()
            self.timetable.review(step + 1)
        self.meter.back()

    def close(self, step, kind):
        known = [k for _, k in self.ends]
        seconds = self.windows[len(known) % len(self.windows)] * (0.5 if kind == SEARCHED else 1.0)
        self.now += seconds * (1.0 if kind in known else self.first)
        self.recorder.drop()
        self.meter.complete(kind)
        self.timetable.plan(step)
        self.ends.append((step, kind))
        self.search -= kind == SEARCHED

    @property
    def dearest(self):
        return max(self.windows) * self.first

    @property
    def forced(self):
        """What is spent whether or not there are windows."""
        return self.report * (self.first + math.ceil(self.total / self.told.period)) + self.upkeep * self.total


seconds = st.floats(1e-3, 1e3)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([100, 800, 3000]),
    st.sampled_from([0.1, 0.25, 1.0]),
    st.lists(st.floats(0.0, 500.0), min_size=1, max_size=9),
    st.floats(0.0, 30.0),
    st.floats(0.0, 0.3),
    st.integers(0, 40),
    st.floats(1.0, 20.0),
    seconds,
)
def test_no_more_is_spent_than_the_budget_and_one_window(total, overhead, windows, report, upkeep, search, first, unit):
    """Whatever windows cost, one after the other; reports and bookkeeping, which nobody can refuse, apart."""
    costs = [unit * window for window in windows]
    parts = {"report": unit * report, "upkeep": unit * upkeep, "search": search, "first": first}
    run = Training(total, overhead, (unit,), tuple(costs), **parts).run()
    plain = unit * total
    assert run.cost.plain_seconds == pytest.approx(plain)
    assert run.cost.plain_seconds + run.cost.extra_seconds == pytest.approx(run.now), "no second is lost"
    most = max(overhead * plain, run.forced)
    assert run.cost.extra_seconds <= (most + run.dearest) * (1 + 1e-9)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=50), st.sampled_from([0.1, 0.25]))
def test_plain_steps_may_take_what_they_like(plain, overhead):
    run = Training(2000, overhead, tuple(plain)).run()
    assert run.cost.plain_seconds + run.cost.extra_seconds == pytest.approx(run.now)
    assert run.cost.overhead <= overhead * 1.1 + run.dearest / run.cost.plain_seconds


@pytest.mark.parametrize("overhead", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("total", [1600, 100_000])
def test_a_budget_is_used(total, overhead):
    run = Training(total, overhead, report=2.0, upkeep=0.005).run()
    assert 0.75 * overhead < run.cost.overhead <= overhead


def test_a_short_run_does_with_fewer_windows_or_none():
    assert Training(100, 0.25, windows=(80.0,)).run().ends == []
    assert Training(100, 0.25, windows=(10.0,)).run().ends == [], "by its counted cost a window is too dear"
    assert 6 <= len(Training(300, 0.25, windows=(10.0,)).run().ends) <= 12


def test_slow_validation_leaves_no_room_for_windows():
    run = Training(1600, 0.25, report=60.0).run()
    assert run.ends == []
    assert run.cost.overhead == pytest.approx(run.forced / 1600)


@pytest.mark.parametrize(("report", "warned"), [(31.9, False), (32.1, True), (60.0, True)])
def test_reports_that_alone_exceed_the_budget_are_told_of_once(caplog, report, warned):
    """128 steps of a second each have 32 seconds to give; a first report that sets things up says nothing."""
    run = Training(1600, 0.25, report=report, first=3.0).run()
    assert run.told.period == 128
    assert len(caplog.messages) == warned
    if report == 60.0:
        assert caplog.messages == [
            "Reports alone cost 46.9 % of plain training, and `overhead` allows 25 % for all that a session adds: 60 s "
            "every 128 steps of 1 s. No room is left for hypergradients. Report less often, by "
            "`Settings(report_every=...)`, or hand the session fewer or smaller `val_batches`."
        ]


def test_the_search_borrows_a_share_and_no_more():
    run = Training(1600, 0.25, search=1000).run()
    searched = [step for step, kind in run.ends if kind == SEARCHED]
    assert 0.9 * SEARCH_SHARE * 400 - 20 <= run.cost.searched <= SEARCH_SHARE * 400
    assert searched == list(range(LEARN + 8, LEARN + 8 * (len(searched) + 1), 8)), "its windows follow each other"
    assert any(kind == WINDOW for _, kind in run.ends), "the rest goes to later windows"


def test_later_windows_are_denser_at_first_and_a_power_of_two_apart():
    run = Training(20_000, 0.1, search=3).run()
    ends = [step for step, kind in run.ends if kind == WINDOW]
    gaps = [b - a for a, b in pairwise(ends)]
    assert {math.log2(gap / 16) % 1 for gap in gaps} == {0.0}
    assert len(set(gaps)) <= 5, "it changes rarely"
    assert sum(end < 10_000 for end in ends) > len(ends) / 2


def test_windows_are_the_same_where_prices_differ_a_little():
    """By a tenth, and by noise."""
    ends = Training(3200, 0.25).run().ends
    noise = (0.97, 1.02, 1.0, 1.01, 0.99)
    again = Training(3200, 0.25, plain=noise, windows=tuple(41 * n for n in noise)).run().ends
    assert [end for end in ends if end in again][: len(ends) // 2] == ends[: len(ends) // 2]


def test_first_calls_are_spent_but_not_typical():
    run = Training(3200, 0.25, first=5.0).run()
    assert run.cost.first[WINDOW] == pytest.approx(200)
    assert run.cost.typical(WINDOW) == pytest.approx(40)
    assert run.cost.overhead <= 0.25


def test_where_windows_become_cheaper_there_are_more_of_them():
    dear = Training(8000, 0.25, windows=(160.0,)).run()
    cheaper = Training(8000, 0.25, windows=(*[160.0] * 6, *[20.0] * 500)).run()
    assert len(cheaper.ends) > 2 * len(dear.ends)


@given(st.integers(1, 1599))
@settings(deadline=None, max_examples=25)
def test_a_resumed_run_keeps_what_was_spent(at):
    """And its plan: in a simulated world without first calls it ends as the undisturbed one."""
    whole = Training(1600, 0.25, report=1.0).run()
    run = Training(1600, 0.25, report=1.0).run(0, at)
    run.meter.stop()
    cost, plan = run.cost.as_plain(), run.timetable.as_plain()
    snapshots, met = run.recorder.snapshots, dict(run.cost.first)
    run.cost = Cost()
    run.build()
    run.cost.load_plain(cost)
    run.timetable.load_plain(plan)
    run.recorder.snapshots = snapshots
    assert run.cost.first == met
    run.run(at)
    assert run.cost.plain_seconds + run.cost.extra_seconds == pytest.approx(run.now)
    assert run.cost.extra_seconds <= 400 + run.dearest
    assert abs(len(run.ends) - len(whole.ends)) <= 1


# ---- prices by hand ----


def test_where_a_budget_buys_too_few_hypergradients_it_grows_for_as_many_as_are_wanted_and_no_further():
    by_hand = Budget(0.1, 0.25, 1000, 100)
    plenty, few, dear = (Prices(1.0, window, report=1.0, upkeep=0.01) for window in (1.0, 5.0, 50.0))
    assert by_hand.free(0, 0.0, plenty) == pytest.approx(100 - 10 - 10)
    assert by_hand.free(0, 0.0, few) == pytest.approx(WANTED * 5.0)
    assert by_hand.share(few) == pytest.approx((10 + 10 + WANTED * 5.0) / 1000)
    assert by_hand.free(0, 0.0, dear) == pytest.approx(250 - 10 - 10)
    assert by_hand.free(600, 120.0, few) == pytest.approx(20 + WANTED * 5.0 - 120.0 - 4 - 4), "what was spent is spent"


def test_what_is_free_by_hand():
    budget = Budget(0.25, 0.25, 1000, 100)
    prices = Prices(plain=2.0, window=50.0, report=3.0, upkeep=0.01)
    assert budget.free(0, 0.0, prices) == pytest.approx(500 - 10 * 3 - 10)
    assert budget.free(750, 400.0, prices) == pytest.approx(500 - 400 - 3 * 3 - 2.5)
    assert budget.period(0, 0.0, Prices(1.0, 40.0), 16) == 64, "1000 * 40 / 250 / 2 = 80, rounded down"
    assert FRONT == 2.0
    assert budget.period(0, 220.0, Prices(1.0, 40.0), 16) is None
    assert budget.period(0, 0.0, Prices(1.0, 0.0), 16) == 16
    assert budget.searches(0, 0.0, 0.0, Prices(1.0, SEARCH_SHARE * 250))
    assert not budget.searches(0, 0.0, 0.0, Prices(1.0, SEARCH_SHARE * 250 + 1))
    assert not budget.searches(0, 240.0, 0.0, Prices(1.0, 20.0))


@pytest.mark.parametrize("total", [250, 1000, 1200, 9999, 10**6])
@pytest.mark.parametrize("steps", [0.3, 5.0, 70.0, 900.0])
@pytest.mark.parametrize("overhead", [0.1, 0.25])
def test_reports_come_at_ninths_of_training_by_steps_that_no_clock_decides(overhead, steps, total):
    period = reports_every(overhead, 128, steps, total)
    count = math.ceil(total / period)
    if count > 9:
        assert period >= 128
        assert (count - 1) * steps <= REPORTS * overhead * total
    elif count > 1:
        assert (count - 1) * steps <= COMPARING * overhead * total
    else:
        assert 3 * steps > COMPARING * overhead * total
    for share in (1 / 9, 1 / 3) if count >= 9 else (1 / 3,) if count >= 3 else ():
        first = math.ceil(share * total / period) * period
        assert first - share * total <= count * share + 1, "a step late for each report before it, and no more"


def test_reports_by_hand():
    assert reports_every(0.1, 128, 5 / 3, 1200) == 134, "nine of them, for a tenth each would miss the ninth"
    assert reports_every(0.1, 128, 5 / 3, 300) == 34, "a training of few steps is reported as often"
    assert reports_every(0.1, 128, 5 / 3, 250) == 84, "and in thirds where ninths cost too much"
    assert reports_every(0.1, 128, 5.0, 100) == 100
    assert reports_every(0.1, 128, 20 / 3, 100_000) == 337, "2 % of a long one buy 300 of them, of which 297 are ninths"


def test_the_time_of_a_window_is_shared_out():
    now = 0.0
    cost = Cost()
    meter = Meter(cost, CPU, lambda: now)
    for step in range(LEARN):
        meter.start(PLAIN)
        now += 9.0 if step < WARM_UP else 1.0
        meter.step()
    assert cost.typical(PLAIN) == 1.0, "the first steps set things up"
    assert cost.plain_seconds == 9.0 * WARM_UP + LEARN - WARM_UP
    for _ in range(4):
        meter.start(WINDOW)
        now += 1.5
        meter.step()
    meter.stop()  # a checkpoint, which is not booked
    now += 100.0
    meter.start(WINDOW)
    now += 10.0
    meter.complete(WINDOW)
    assert cost.first == {WINDOW: 12.0}
    assert cost.extra_seconds == 12.0
    assert cost.plain_seconds == 9.0 * WARM_UP + LEARN - WARM_UP + 4


def test_windows_before_any_plain_step_are_put_right_later():
    now = 0.0
    cost = Cost()
    meter = Meter(cost, CPU, lambda: now)
    for kind in (*[SEARCHED] * 8, *[PLAIN] * LEARN):
        meter.start(kind)
        now += 3.0 if kind == SEARCHED else 1.0
        meter.step()
    assert cost.plain_seconds == 8 + LEARN
    assert cost.extra_seconds == 16


def test_a_window_that_is_dropped_stays_paid_for():
    now = 0.0
    cost = Cost()
    meter = Meter(cost, CPU, lambda: now)
    meter.start(WINDOW)
    now += 5.0
    meter.forget()
    meter.start(WINDOW)
    now += 2.0
    meter.complete(WINDOW)
    assert cost.extra_seconds == 7
    assert cost.first == {WINDOW: 2}


# ---- in a session ----


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
