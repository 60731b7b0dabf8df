"""The choice of an engine: by prices on a simulated clock, and in real sessions."""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ray_glocal.hypergradient import Hyperparameter, adjoint_trajectory, forward_trajectory
from ray_glocal.hypergradient.gradient.products import EXACT
from ray_glocal.hypergradient.window.window import Window
from ray_glocal.session.pacing.cost import CONTEST, PLAIN, SEARCH, WINDOW, Cost
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.windows import differentiation
from ray_glocal.session.windows.differentiation import Differentiation
from ray_glocal.session.windows.engines import Engines
from ray_glocal.session.windows.tuning import FEW_ENTRIES, TRIED, WORTH

from .cases import LIVELY, differences, drive, rows_of, windows
from .test_losses import plain_val, smooth_run

KINDS = (SEARCH, WINDOW)
LR = Hyperparameter("lr", 0.1, 1e-4, 1.0, "log")
MOMENTUM = Hyperparameter("momentum", 0.5, 0.0, 0.99, "logit")
DECAY = Hyperparameter("weight_decay", 1e-2, 1e-6, 0.1, "log")
CYCLE = windows(duty_cycle=0.125)


def engines_of(told, entries, annealed=False):
    made = Engines(told, entries, annealed)
    return [None if made.undecided(kind) else made.of(kind) for kind in KINDS]


# ---- without a clock ----


@pytest.mark.parametrize("engine", ["adjoint", "forward"])
@pytest.mark.parametrize("told", [windows(), CYCLE])
def test_what_is_asked_for_is_taken(engine, told):
    for entries in (1, 2, 100):
        assert engines_of(replace(told, engine=engine), entries) == [engine, engine]


def test_duty_cycles_go_by_count():
    assert engines_of(CYCLE, 1) == ["forward", "forward"]
    assert engines_of(CYCLE, 2) == ["adjoint", "adjoint"]
    assert engines_of(CYCLE, 1, annealed=True) == ["adjoint", "adjoint"]


def test_budgets_go_by_prices_where_both_engines_can_serve():
    assert engines_of(windows(), 1) == [None, None]
    assert engines_of(windows(), FEW_ENTRIES) == [None, None]
    assert engines_of(windows(), FEW_ENTRIES + 1) == ["adjoint", "adjoint"]
    assert engines_of(windows(products="differences"), 1) == ["adjoint", "adjoint"]


def test_mean_parameters_are_for_the_adjoint_engine():
    """Which later windows read beneath an annealing schedule, and those of the search do not."""
    assert engines_of(windows(), 1, annealed=True) == [None, "adjoint"]
    assert engines_of(windows(tail=0), 1, annealed=True) == [None, None]
    made = Engines(windows(), 1, True)
    assert [made.tail(kind, 12) for kind in KINDS] == [1, 8]
    assert Engines(windows(tail=0), 1, True).tail(WINDOW, 12) == Engines(windows(), 1, False).tail(WINDOW, 12) == 1


def test_until_prices_are_known_it_is_the_adjoint_engine():
    made = Engines(windows(), 1, False)
    assert made.of(WINDOW) == "adjoint"
    made.choose(WINDOW, "forward")
    assert (made.of(WINDOW), made.of(SEARCH)) == ("forward", "adjoint")
    again = Engines(windows(), 1, False)
    again.load_plain(made.as_plain())
    assert (again.of(WINDOW), again.undecided(WINDOW), again.undecided(SEARCH)) == ("forward", False, True)
    told = Engines(windows(engine="adjoint"), 1, False)
    told.load_plain(made.as_plain())
    assert told.of(WINDOW) == "adjoint", "what is asked for now counts"


# ---- on a simulated clock ----


@dataclass
class Contest:
    """Windows of known prices, differentiated one after the other.

    Args:
        adjoint: Seconds of a window by the adjoint engine, in turn.
        outer: Of a validation gradient.
        forward: Of a step by the forward engine, its validation gradient included.
        length: Steps of a window.
        first: How much longer the first forward call takes.
        room: Whether every step has its state.
    """

    adjoint: tuple[float, ...]
    outer: float
    forward: float
    length: int = 16
    first: float = 1.0
    room: bool = True
    now: float = 0.0
    calls: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self):
        self.cost = Cost()
        self.meter = Meter(self.cost, torch.device("cpu"), lambda: self.now)
        self.engines = Engines(windows(), 3, False)
        problem = SimpleNamespace(preserved=nullcontext, size=3, outer_gradient=self.pay_outer)
        tape = SimpleNamespace(products=EXACT, keeping=None)
        self.made = Differentiation(problem, tape, self.meter, self.engines)

    def pay_outer(self, *_):
        self.now += self.outer
        self.calls.append(("outer", 1))

    def pay_adjoint(self, _, window, tail, products):
        done = sum(name == "adjoint" for name, _ in self.calls)
        self.now += self.adjoint[done % len(self.adjoint)]
        self.calls.append(("adjoint", len(window.snapshots)))

    def pay_forward(self, _, window):
        first = all(name != "forward" for name, _ in self.calls)
        self.now += self.forward * len(window.snapshots) * (self.first if first else 1.0)
        self.calls.append(("forward", len(window.snapshots)))

    def run(self, windows, kind=WINDOW):
        snapshots = tuple(SimpleNamespace(state=i or self.room or None, start=i, values={}) for i in range(self.length))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(differentiation, "adjoint_trajectory", self.pay_adjoint)
            patched.setattr(differentiation, "forward_trajectory", self.pay_forward)
            for _ in range(windows):
                self.meter.start(kind)
                self.now += 1.0
                self.made.trajectory(Window(snapshots, self.length, [0]), kind)
                self.meter.complete(kind)
        return self


seconds = st.floats(1e-3, 1e3)


@settings(deadline=None, max_examples=100)
@given(
    st.tuples(seconds, seconds),
    st.floats(1e-3, 2.0),
    st.floats(1e-3, 2.0),
    st.integers(4, 40),
    st.floats(1.0, 100.0),
    st.sampled_from(KINDS),
)
def test_the_forward_engine_is_taken_where_it_is_worth_its_price(adjoint, share, ratio, length, first, kind):
    """Whatever its first call takes; and it is not tried where its validation gradients alone make it too dear."""
    assume(abs(share - 1) > 1e-6)
    assume(abs(ratio - 1) > 1e-6)
    price = WORTH * min(adjoint)
    outer = share * (price - min(adjoint)) / (length - 1)
    run = Contest(adjoint, outer, ratio * price / length, length, first).run(5, kind)
    tried = share < 1
    assert run.engines.of(kind) == ("forward" if tried and ratio < 1 else "adjoint")
    forward = [steps for name, steps in run.calls if name == "forward"]
    assert forward[:2] == ([1, min(TRIED, length)] if tried else [])
    assert [name for name, _ in run.calls].count("outer") == 1
    assert not run.engines.undecided(kind)


@settings(deadline=None, max_examples=50)
@given(st.tuples(seconds, seconds), seconds, seconds, st.floats(1.0, 100.0))
def test_a_contest_is_paid_for_once_and_apart_from_the_window(adjoint, outer, forward, first):
    run = Contest(adjoint, outer, forward, first=first).run(1)
    assert run.calls == [("adjoint", 16)], "the first window sets things up, and settles nothing"
    assert run.engines.undecided(WINDOW)
    run.run(1)
    assert run.cost.typical(WINDOW) == pytest.approx(1 + adjoint[1])
    assert run.cost.extra_seconds == pytest.approx(run.now), "no second is lost"
    spent = run.cost.first[CONTEST]
    assert spent == pytest.approx(run.now - 2 - sum(adjoint))
    assert spent <= outer + (first + TRIED) * forward + 1e-9
    run.run(3)
    assert run.cost.first[CONTEST] == spent
    assert run.cost.extra_seconds == pytest.approx(run.now)


def test_a_pause_makes_no_engine_look_cheap():
    """The adjoint one's price is the least of two."""
    assert Contest((1.0, 50.0), 0.001, 0.2).run(2).engines.of(WINDOW) == "adjoint"
    assert Contest((50.0, 1.0), 0.001, 0.2).run(2).engines.of(WINDOW) == "adjoint"
    assert Contest((50.0, 50.0), 0.01, 0.2).run(2).engines.of(WINDOW) == "forward"


def test_where_memory_is_short_or_the_clock_stands_nothing_is_tried():
    run = Contest((50.0,), 0.01, 0.2, room=False).run(3)
    assert (run.engines.of(WINDOW), {name for name, _ in run.calls}) == ("adjoint", {"adjoint"})
    run = Contest((0.0,), 0.0, 0.0).run(3)
    assert (run.engines.of(WINDOW), {name for name, _ in run.calls}) == ("adjoint", {"adjoint", "outer"})


# ---- in a session ----

RICH = replace(LIVELY, overhead=50.0, duty_cycle=None)


def plain_train(model, batch):
    return plain_val(model, batch)


def budgeted(entries=2, told=RICH, **changed):
    batches, session = smooth_run([MOMENTUM, DECAY, LR][:entries], plain_train, settings=told, **changed)
    return session, session.batches(batches)


def favouring(session, monkeypatch, engine):
    """The session by a clock that only differentiating moves on, and by which one engine is the cheaper."""
    clock = SimpleNamespace(now=0.0)
    session._meter._clock = lambda: clock.now

    def priced(action, price):
        def taken(problem, window, *rest):
            clock.now += price * len(window.snapshots)
            return action(problem, window, *rest)

        return taken

    dear = {"adjoint": 1.0, "forward": 1.0} | {engine: 0.5}
    monkeypatch.setattr(differentiation, "adjoint_trajectory", priced(adjoint_trajectory, dear["adjoint"]))
    monkeypatch.setattr(differentiation, "forward_trajectory", priced(forward_trajectory, dear["forward"]))
    session.cost.observe(PLAIN, 1.0)
    return session


@pytest.mark.parametrize("entries", [1, 2, 3])
def test_a_session_settles_for_one_of_two_that_agree(entries):
    session, batches = budgeted(entries)
    seen = []
    trajectory = session._adaptation.differentiation.trajectory

    def watched(window, kind):
        seen.append((kind, window))
        both = [engine(session.problem, window).derivatives[-1] for engine in (adjoint_trajectory, forward_trajectory)]
        torch.testing.assert_close(*both, rtol=1e-9, atol=1e-12)
        return trajectory(window, kind)

    session._adaptation.differentiation.trajectory = watched
    while len([kind for kind, _ in seen if kind == WINDOW]) < 3 and not session.done:
        session.step(next(batches))
    assert not session._adaptation.engines.undecided(WINDOW)
    assert session._adaptation.engines.of(WINDOW) in ("adjoint", "forward")
    assert session.cost.first[CONTEST] > 0


@pytest.mark.parametrize("engine", ["adjoint", "forward"])
def test_a_resumed_session_keeps_its_engine(tmp_path, monkeypatch, engine):
    session, batches = budgeted()
    favouring(session, monkeypatch, engine)
    while session._adaptation.engines.undecided(WINDOW):
        session.step(next(batches))
    assert session._adaptation.engines.of(WINDOW) == engine
    session.save(tmp_path)
    resumed, _ = budgeted()
    resumed.restore(tmp_path)
    assert resumed._adaptation.engines.as_plain() == session._adaptation.engines.as_plain()
    assert resumed._adaptation.engines.of(WINDOW) == engine
    assert not resumed._adaptation.engines.undecided(WINDOW)


def test_a_contest_leaves_training_as_it_was(monkeypatch):
    """The same windows with a forward engine that was tried and one that never is, gates closed."""
    closed = replace(RICH, act=1e9, act_small=1e9)
    told = []
    for chosen in (closed, replace(closed, engine="adjoint")):
        session, batches = budgeted(told=chosen)
        favouring(session, monkeypatch, "adjoint")
        drive(session, batches)
        told.append((list(session.problem.parameters), rows_of(session)))
    assert differences(*told) == []


@pytest.mark.parametrize("entries", [1, 2])
def test_under_a_duty_cycle_no_clock_decides(monkeypatch, entries):
    session, batches = budgeted(entries, LIVELY)
    favouring(session, monkeypatch, "forward" if entries == 2 else "adjoint")
    drive(session, batches)
    assert rows_of(session)
    assert session._adaptation.engines.of(WINDOW) == ("forward" if entries == 1 else "adjoint")
    assert CONTEST not in session.cost.first
