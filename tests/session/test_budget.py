"""The time budget, on a simulated clock: what is spent is what the costs say, and nothing waits for a real one."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.budget import Budget
from ray_glocal.session.pacing.cost import PLAIN, REPORT, WINDOW, Cost, window_steps
from ray_glocal.session.pacing.cost import SEARCH as SEARCHED
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.pacing.timetable import BudgetTimetable
from ray_glocal.session.pacing.tuning import LEARN, SEARCH_SHARE
from ray_glocal.session.windows.recorder import Recorder

from .cases import windows

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
