"""Recording cases along a plain training run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem, adjoint_trajectory, forward_trajectory, record_window
from ray_glocal.hypergradient.engines.oracle import finite_differences
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.window.schedule import Factor
from ray_glocal.hypergradient.window.window import Trajectory, Window
from ray_glocal.validation.case import Case
from ray_glocal.validation.tuning import EARLIER, FUTURES, SPACING, VAL_BATCHES, WINDOW


@dataclass(frozen=True)
class Plan:
    """Where along a run cases are recorded, and how much truth each gets.

    Args:
        starts: Inner steps at which windows start.
        window: Inner steps K in a window.
        earlier: Earlier windows recorded for each, fewer where the run has no room.
        spacing: Inner steps from one earlier window's start to the next.
        futures: Futures that the truth averages over.
        val_batches: Validation batches that a window averages over; the windows take turns through them all.
        step_sizes: Half widths of finite differences in coordinates, each two runs to the end for every
            hyperparameter; none by default. One of several entries is differentiated along random signs.
        forward: Whether to record forward trajectories, whose price grows with q, beside those by lag.
        ahead: Inner steps from a window's start to its truth, where that is not to be the end of training.

    Raises:
        ArgumentError: A value out of range.
    """

    starts: tuple[int, ...]
    window: int = WINDOW
    earlier: int = EARLIER
    spacing: int = SPACING
    futures: int = FUTURES
    val_batches: int = VAL_BATCHES
    step_sizes: tuple[float, ...] = ()
    forward: bool = True
    ahead: int | None = None

    def __post_init__(self) -> None:
        if not self.starts or min(self.starts) < 0 or len(set(self.starts)) < len(self.starts):
            remedy = "Hand each inner step once, as in (100, 500)."
            raise ArgumentError("starts", "be one or more different steps from 0 on", self.starts, remedy)
        counts = {
            "window": (4, "inner steps in a window"),
            "earlier": (0, "earlier windows for each, 0 for none"),
            "spacing": (1, "inner steps between their starts"),
            "futures": (1, "orders of the batches that remain"),
            "val_batches": (1, "validation batches of a window"),
        }
        for name, (least, counted) in counts.items():
            if getattr(self, name) < least:
                raise ArgumentError(name, f"be at least {least}", getattr(self, name), f"It counts {counted}.")
        if self.ahead is not None and self.ahead <= self.window:
            remedy = "Leave it out for the end of training."
            raise ArgumentError("ahead", f"be more than a window, {self.window} steps", self.ahead, remedy)

    def end(self, start: int, length: int) -> int:
        """Step of the truth of the window at `start`, in a run of `length` steps."""
        return length if self.ahead is None else min(length, start + self.ahead)

    def earlier_starts(self, start: int) -> tuple[int, ...]:
        """Starts of the earlier windows of the one at `start`, oldest first."""
        wanted = (start - self.spacing * back for back in range(self.earlier, 0, -1))
        return tuple(step for step in wanted if step >= 0)


@dataclass(frozen=True)
class RecordedRun:
    """The data of one training run from its first to its last step.

    Args:
        batches: The run's batches, one for each inner step.
        future: Batches from another order, without end; every number draws another one.
        val_batches: All validation batches.
        factors: The schedule's factor on the learning rates at each step, or `None`.
    """

    batches: Sequence[Any]
    future: Callable[[int], Iterable[Any]]
    val_batches: Sequence[Any]
    factors: Sequence[Factor] | None = None

    @property
    def length(self) -> int:
        """Inner steps of the whole run."""
        return len(self.batches)

    def few(self, turn: int, count: int) -> list[Any]:
        """The validation batches of the window whose turn it is."""
        total = len(self.val_batches)
        count = min(count, total)
        return [self.val_batches[(turn * count + index) % total] for index in range(count)]

    def rates(self, end: int) -> Array:
        """The factor at each step before `end`, averaged over parameter groups; empty without a schedule."""
        return np.array([float(np.mean(factor)) for factor in (self.factors or ())[:end]])

    def factors_from(self, start: int, end: int | None = None) -> Sequence[Factor] | None:
        """Factors of the steps from `start` to before `end`."""
        return None if self.factors is None else self.factors[start:end]


def record_cases(
    problem: Problem,
    recorded: RecordedRun,
    values: Values,
    plan: Plan,
    run: str,
    about: Mapping[str, str] | None = None,
) -> list[Case]:
    """Train plainly at fixed values and record a case at each of the plan's starts.

    Costs the run, a forward window for each case, an adjoint window for it and for each earlier one, and for each
    future an exact hypergradient of all that remains, whose memory is one copy of the state for each step.

    Args:
        problem: The bilevel problem; comes back as it was.
        recorded: The run's data.
        values: Hyperparameter values that hold throughout.
        plan: What to record.
        run: The run's name.
        about: What else to note of the run.

    Returns:
        The cases by their start; from where a window is no longer finite on there are none.

    Raises:
        ArgumentError: A window would not end before the run does, or there are too few batches, factors or
            validation batches.
    """
    if max(plan.starts) + plan.window >= recorded.length:
        rule = f"leave a window of {plan.window} steps room before the run's last step, {recorded.length}"
        raise ArgumentError("starts", rule, plan.starts, "Start earlier, or train longer.")
    with problem.rewound():
        problem.write_options(None, values)
        for group in problem.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])  # what factors multiply where the rate is not adapted
        return _Walk(problem, recorded, values, plan, run, about or {}).cases()


class _Walk:
    """A run under way, with the snapshots of the last K steps."""

    def __init__(
        self, problem: Problem, recorded: RecordedRun, values: Values, plan: Plan, run: str, about: Mapping[str, str]
    ) -> None:
        self.problem, self.recorded, self.values, self.plan = problem, recorded, values, plan
        self.run, self.about = run, about
        self.directions = directions_of(problem) if plan.step_sizes else np.empty((0, problem.size))
        self.step = 0
        self.recent: tuple[Snapshot, ...] = ()
        self.lags: dict[int, Array] = {}
        self.differences: dict[int, Array] = {}

    def cases(self) -> list[Case]:
        plan = self.plan
        made: list[Case] = []
        earlier = {step for start in plan.starts for step in plan.earlier_starts(start)}
        turns = {start: turn for turn, start in enumerate(sorted(earlier | set(plan.starts)))}
        moments = {start + plan.window: start for start in turns}
        stops = sorted({*moments, *(plan.starts if plan.step_sizes else ())})
        for stop in stops:
            self._go(stop)
            if plan.step_sizes and stop in plan.starts:
                self.differences[stop] = self._differences()
            if stop in moments:
                start = moments[stop]
                window = self._window(turns[start])
                lag = adjoint_trajectory(self.problem, window)
                self.lags[start] = self._on_line(lag)
                if not np.isfinite(self.lags[start]).all():
                    return made
                if start in plan.starts:
                    made.append(self._case(start, window, lag))
        return made

    def _go(self, step: int) -> None:
        """Train on to `step`."""
        if step > self.step:
            batches = self.recorded.batches[self.step : step]
            factors = self.recorded.factors_from(self.step, step)
            passed = record_window(self.problem, batches, (), self.values, factors)
            self.recent = (*self.recent, *passed.snapshots)[-self.plan.window :]
            self.step = step

    def _window(self, turn: int) -> Window:
        return Window(self.recent, self.problem.capture(), self.recorded.few(turn, self.plan.val_batches))

    def _on_line(self, trajectory: Trajectory) -> Array:
        line: Array = self.problem.pull_back(self.values, trajectory.derivatives).numpy()
        return line

    def _differences(self) -> Array:
        end = self.plan.end(self.step, self.recorded.length)
        found = finite_differences(
            self.problem,
            self.recorded.batches[self.step : end],
            self.recorded.val_batches,
            self.values,
            self.plan.step_sizes,
            self.recorded.factors_from(self.step),
            torch.from_numpy(self.directions),
        )
        rows: Array = found.derivatives.numpy()
        return rows

    def _case(self, start: int, window: Window, lag: Trajectory) -> Case:
        problem, earlier = self.problem, self.plan.earlier_starts(start)
        first = self.plan.starts.index(start) * self.plan.futures
        end = self.plan.end(start, self.recorded.length)
        ends = [self._truth(window, end, first + index) for index in range(self.plan.futures)]
        shape = (len(earlier), *lag.derivatives.shape)
        return Case(
            self.run,
            self.about,
            problem.labels,
            np.concatenate([self.values[h.name].flatten().numpy() for h in problem.hyperparameters]),
            start,
            end - start,
            self._on_line(forward_trajectory(problem, window)) if self.plan.forward else np.empty((0, problem.size)),
            self.lags[start],
            np.array([self.lags[step] for step in earlier]).reshape(shape),
            earlier,
            lag.loss,
            np.array([self._on_line(end)[-1] for end in ends]),
            np.array([end.loss for end in ends]),
            self.plan.step_sizes,
            self.directions,
            self.differences.get(start, np.empty((0, 0))),
            self.recorded.rates(end),
        )

    def _truth(self, window: Window, end: int, draw: int) -> Trajectory:
        """Exact hypergradient over the window and what follows; the run's own order for a case's first future."""
        own = draw % self.plan.futures == 0
        left = slice(self.step, end)
        batches = self.recorded.batches[left] if own else islice(self.recorded.future(draw), end - self.step)
        whole = self.recorded.val_batches
        with self.problem.rewound():
            if not own:
                torch.manual_seed(draw)  # dropout and the like are drawn anew, too
            tail = record_window(self.problem, batches, whole, self.values, self.recorded.factors_from(self.step))
        return adjoint_trajectory(self.problem, Window((*window.snapshots, *tail.snapshots), tail.end, whole))


def directions_of(problem: Problem) -> Array:
    """One direction on the line for each hyperparameter, shape [hyperparameter, q]: random signs where it has entries.

    A number moves alone, by one unit. The signs are the same every time, and half of them are negative: shares of a
    simplex do not move where all go the same way.
    """
    signs, rows, first = np.random.default_rng(0), np.zeros((len(problem.hyperparameters), problem.size)), 0
    for row, hyper in zip(rows, problem.hyperparameters, strict=True):
        row[first : first + hyper.size] = signs.permutation(np.resize([1.0, -1.0], hyper.size))
        first += hyper.size
    return rows
