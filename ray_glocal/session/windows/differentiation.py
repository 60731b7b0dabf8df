"""Windows differentiated, and the contest that finds out by which engine."""

from collections.abc import Callable
from typing import Any

from ray_glocal.hypergradient import Problem, adjoint_trajectory, forward_trajectory
from ray_glocal.hypergradient.gradient.consistency import outer_consistency
from ray_glocal.hypergradient.gradient.differences import Say
from ray_glocal.hypergradient.gradient.products import EXACT
from ray_glocal.hypergradient.tuning import MISSING
from ray_glocal.hypergradient.window.tape import Tape
from ray_glocal.hypergradient.window.window import Trajectory, Window
from ray_glocal.session.pacing.cost import CONTEST, window_steps
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.windows.engines import Engine, Engines, worthwhile
from ray_glocal.session.windows.tuning import TRIED


class Differentiation:
    """Differentiates a session's windows.

    Where prices decide between the engines, the second window of a kind decides. The adjoint engine has taken its
    time for that one anyway. The forward engine takes no fewer products, and a validation gradient a step: where these
    make it too dear it is not tried, for its first call takes long; else it is on the window's first steps. What that
    takes is booked as extra time, but not as the window's.

    Args:
        problem: The bilevel problem.
        tape: What records the windows.
        meter: Whose clock it goes by: of several ranks the first one's, so that all choose alike.
        engines: Which engine each kind of window has.
        say: Told, at the first window, where validation gradients leave something out.
    """

    def __init__(self, problem: Problem, tape: Tape, meter: Meter, engines: Engines, say: Say | None = None) -> None:
        self._problem, self._tape, self._meter, self._engines = problem, tape, meter, engines
        self._say = say  # until the first window

    def trajectory(self, window: Window, kind: str) -> Trajectory:
        """The trajectory of a window of some kind; beneath a schedule that anneals, without what it will take out."""
        if self._say is not None:
            self._check_validation(window, self._say)
            self._say = None
        if self._engines.of(kind) == "forward":
            return forward_trajectory(self._problem, window)
        start = self._meter.now() if self._engines.undecided(kind) else 0.0
        tail = self._engines.tail(kind, len(window.snapshots))
        found = adjoint_trajectory(self._problem, window, tail, self._tape.products)
        if self._engines.undecided(kind):
            least = self._engines.met(kind, self._meter.now() - start)
            if least is not None:
                self._meter.start(CONTEST)
                self._engines.choose(kind, self._winner(window, least))
                self._meter.complete(CONTEST)
                self._meter.start(kind)
        return found

    def _check_validation(self, window: Window, say: Say) -> None:
        missing = outer_consistency(self._problem, window.val_batches[:1], window.values)
        if missing > MISSING:
            text = (
                f"The validation gradient is off by {100 * min(missing, 1.0):.2g} % from how the loss changes: part of "
                "`val_loss` is detached from the parameters, or a function's or a hook's backward pass is not its "
                "derivative."
            )
            say("validation", text)

    def steps(self, kind: str, length: int, size: float) -> float:
        """Counted cost of a window of some kind beyond its plain steps, in inner-step equivalents."""
        return self._counted(self._engines.of(kind), length, size)

    def _winner(self, window: Window, adjoint: float) -> Engine:
        """The engine to go on with where the adjoint one takes so many seconds for a window."""
        problem, length, batches = self._problem, len(window.snapshots), window.val_batches
        if self._tape.products is not EXACT or any(snapshot.state is None for snapshot in window.snapshots):
            return "adjoint"  # the forward engine has no other products, and where memory is short no room
        with problem.preserved():
            outer = self._seconds(lambda: problem.outer_gradient(batches, window.values))
        self._meter.cost.extra_steps += len(batches)
        if not worthwhile(adjoint + (length - 1) * outer, adjoint):
            return "adjoint"
        tried = min(TRIED, length)
        forward_trajectory(problem, first_steps(window, 1))
        taken = self._seconds(lambda: forward_trajectory(problem, first_steps(window, tried)))
        self._meter.cost.extra_steps += self._counted("forward", 1 + tried, len(batches))
        return "forward" if worthwhile(taken * length / tried, adjoint) else "adjoint"

    def _counted(self, engine: Engine, steps: int, size: float) -> float:
        again = self._tape.keeping.again if self._tape.keeping is not None else 0.0
        return window_steps(engine, steps, again * steps, self._problem.size, size)

    def _seconds(self, action: Callable[[], Any]) -> float:
        start = self._meter.now()
        action()
        return self._meter.now() - start


def first_steps(window: Window, steps: int) -> Window:
    """The first steps of a window each of which has its state."""
    if steps == len(window.snapshots):
        return window
    return Window(window.snapshots[:steps], window.snapshots[steps].start, window.val_batches)
