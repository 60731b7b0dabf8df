"""Adaptation by windows: the paper's estimator, whose local hypergradients are exact and forecast to the end."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_glocal.forecast import Array, Forecast
from ray_glocal.hypergradient.window.tape import Tape
from ray_glocal.hypergradient.window.window import Window
from ray_glocal.koopman import forecaster
from ray_glocal.session.adaptation import DROPPED
from ray_glocal.session.course import Course
from ray_glocal.session.effect import say_cut_off
from ray_glocal.session.pacing.cost import PLAIN, REPORT, SEARCH, WINDOW
from ray_glocal.session.pacing.timetable import timetable
from ray_glocal.session.rows import OuterStep, outer_step_rows
from ray_glocal.session.state import checkpoint
from ray_glocal.session.tuning import BEGIN_ANEW_UNTIL
from ray_glocal.session.windows.differentiation import Differentiation
from ray_glocal.session.windows.engines import Engines
from ray_glocal.session.windows.forecasts import WindowForecasts
from ray_glocal.session.windows.heat import affordable_heat, with_heat
from ray_glocal.session.windows.outer import Axes, OuterState, Standing, after_search, learn, potential
from ray_glocal.session.windows.recorder import Recorder
from ray_glocal.session.windows.response import Ending, respond
from ray_glocal.session.windows.tuning import BACK


class ByWindows:
    """Records windows, differentiates them, forecasts their trajectories, and moves what the gate lets pass.

    Args:
        course: Of the training.
    """

    def __init__(self, course: Course) -> None:
        self.course, self.settings, self.problem = course, course.settings, course.problem
        settings, problem = self.settings, self.problem
        forecasters = forecaster(settings.forecaster), forecaster(settings.search_forecaster)
        self.forecasts = WindowForecasts(problem, *forecasters, course.factors)
        self.axes = Axes.of(problem)
        self.outer = OuterState.start(self.axes, settings)
        self._lengths = {SEARCH: settings.search_window, WINDOW: settings.window}
        memory, say = (settings.memory, settings.host_memory), course.notices.say
        self.tape = Tape(problem, max(self._lengths.values()), *memory, products=settings.products, say=say)
        self.engines = Engines(settings, problem.size, course.outline.annealed)
        self.differentiation = Differentiation(problem, self.tape, course.meter, self.engines, say)
        counted, period = self._counted, lambda: course.report_period
        self.timetable = timetable(settings, course.total_steps, period, course.meter.cost, counted, course.notices)
        self.recorder = Recorder(settings, self.timetable)
        self.count = 0
        self._recorded = False  # whether the last step was
        course.forget = self._forget

    @property
    def searching(self) -> bool:
        """Whether the learning rate's order of magnitude is searched for."""
        return self.outer.searching

    @property
    def elasticity(self) -> Array:
        """As the last window foretold it."""
        return self.outer.elasticity

    @property
    def judges_averages(self) -> bool:
        """Windows end in the weights that train."""
        return False

    def begin(self, batch: Any) -> None:
        """Nothing."""

    def step(self, batch: Any) -> Tensor:
        """Take an inner step, recorded or not."""
        course, recorder = self.course, self.recorder
        self.forecasts.advance()
        recorded = recorder.wants(course.step_count, searching=self.searching)
        course.meter.start(self._kind if recorded else PLAIN)
        if recorded:
            recorder.snapshots = self.tape.follow(recorder.snapshots)
            snapshot, loss = self.tape.step(batch, course.values, len(recorder.snapshots))
            recorder.snapshots.append(snapshot)
            recorded = not self._dropped(snapshot.trouble)
        else:
            loss = self.problem.advance(batch, course.values)
        self._recorded = recorded
        course.schedule.step()
        course.meter.step()
        return loss

    def respond(self) -> None:
        """Close the window that the step has completed."""
        course = self.course
        if self._recorded and self.recorder.full(searching=self.searching):
            self._close_window()
        if self.searching and not self.recorder.snapshots and self.timetable.exhausted(course.step_count):
            self._end_search()

    def review(self, loss: float) -> None:
        """At a report: plan anew where no window is planned."""
        self.timetable.review(self.course.step_count)

    def potential(self, loss: float) -> float:
        """What the remaining windows can still buy."""
        left = self.timetable.hypergradients_left(self.course.step_count)
        outer, vectors = self.outer, self.axes.vectors
        return potential(outer.elasticity, outer.deviation, outer.trust, loss, left, vectors)

    def inherit(self) -> None:
        """The order of magnitude of the learning rate came along with the weights."""
        self.outer = replace(self.outer, searching=False)

    def foreseen(self) -> int:
        """Windows that the whole run will buy."""
        return self.timetable.foreseen(searching=self.searching)

    def scarcity(self) -> str:
        """Why there may be none."""
        return self.timetable.scarcity()

    def retreat(self, trouble: str, *, to_first: bool) -> bool:
        """Go back; early in the search to the first weights: steps that were far too long leave their mark."""
        to_first |= self.searching and self.course.progress <= BEGIN_ANEW_UNTIL
        if self.course.retreat(trouble, to_first=to_first) is None:
            return False
        line = self.problem.to_line(self.course.ran).numpy()
        self.outer = self.outer.forget(self.axes, self.settings, line)
        return True

    def _close_window(self) -> None:
        """Differentiate the complete window, forecast, judge, and move."""
        course, kind = self.course, self._kind
        window = self.recorder.take(self.problem, course.validation.next_few())
        course.meter.cost.extra_steps += self._steps(kind, len(window.snapshots))
        self.evaluate(window)
        course.meter.complete(kind)
        self.timetable.plan(course.step_count)

    def evaluate(self, window: Window) -> None:
        """Take in what a window says."""
        trajectory = self.differentiation.trajectory(window, self._kind)
        if self._dropped(trajectory.trouble):
            return
        self.recorder.succeed()
        self.count += 1
        series = self.problem.pull_back(window.values, trajectory.derivatives).numpy()
        if self.count == 1:
            say_cut_off(self.problem, self.course.notices, series)
        if self._lost(series[-1], trajectory.loss):
            return
        step = self.course.step_count
        if self.searching:
            forecast = self.forecasts.searched(series, step)
        else:
            forecast = self.forecasts.forecast(window, series, trajectory.kind, step)
        self._move(series, forecast, trajectory.loss)

    def _lost(self, local: Array, loss: float) -> bool:
        """Retreat from a window that ended badly; remember the state it ended in otherwise."""
        guard, course = self.course.guard, self.course
        if self.retreat(guard.validation_jumped(loss), to_first=False):
            return True
        if self.retreat(guard.collapsed(loss, self.problem), to_first=not guard.learned):
            return True
        if self.retreat(guard.strayed(loss, self.problem, course.progress), to_first=True):
            return True
        if self.retreat(guard.exploded(local, loss), to_first=False):
            return True
        if self.retreat(guard.stalled(loss), to_first=False):
            return True
        if guard.worth_keeping(loss):
            course.keep(loss)
        return False

    def _move(self, series: Array, forecast: Forecast, loss: float) -> None:
        """Judge a forecast and take the outer step."""
        course, searching, local = self.course, self.searching, series[-1]
        heat = affordable_heat(self.settings.heat, course.outline.height(course.step_count))
        plan = Standing(course.progress, course.outline.annealed, heat)
        known = with_heat(learn(self.outer, forecast, loss), local, loss)
        response = respond(Ending(self.problem, course.values, local, loss), known, self.axes, plan, self.settings)
        taken = OuterStep(self.problem, course.values, response.values, local, forecast, loss, series)
        self.outer = response.outer
        course.trace.append(outer_step_rows(course.step_count, taken, response.verdicts))
        if response.values is not course.values:
            course.set_values(response.values)
        if searching and not self.searching and course.progress <= BEGIN_ANEW_UNTIL:
            self._begin_anew()

    def _end_search(self) -> None:
        """The search has spent what it may: go on from where it came to."""
        self.outer = after_search(self.outer)
        if self.course.progress <= BEGIN_ANEW_UNTIL:
            self._begin_anew()
        self.timetable.plan(self.course.step_count)

    def _begin_anew(self) -> None:
        """The search is over, and has moved: train from the first weights, at a rate well below where it ended.

        Its last steps were too long, or it would go on, and what they did to the network stays.
        """
        first = self.course.guard.first
        assert first is not None
        line = self.problem.to_line(self.course.values)
        if torch.equal(line, self.problem.to_line(first.values)):
            return
        back = torch.from_numpy(np.where(self.axes.rates, math.log(BACK), 0.0))
        self.outer = replace(self.outer, losses=())
        reason = "the search is over: back to the first weights, with half the learning rate"
        self.course.begin_anew(self.problem.to_values(line + back), reason)

    def _dropped(self, trouble: str) -> bool:
        """Drop a window that cannot be differentiated, if there is trouble, and say why; training goes on plainly."""
        if not trouble:
            return False
        again, say = self.tape.repeatable, self.course.notices.say
        say(DROPPED, f"A window was dropped: {trouble}.")
        if not again:
            say("windows", f"No further window is opened: {trouble}.")
        if self.recorder.snapshots:
            self.course.meter.forget()
        self.recorder.fail(self.course.step_count, again=again)
        return True

    def _forget(self) -> None:
        """Drop what was seen on a path that is given up."""
        if self.recorder.snapshots:
            self.course.meter.forget()
        self.recorder.drop()
        self.timetable.plan(self.course.step_count)
        self.forecasts.forget()

    @property
    def _kind(self) -> str:
        return SEARCH if self.searching else WINDOW

    def _counted(self, kind: str) -> float:
        """Inner-step equivalents of a report, or of a window."""
        if kind == REPORT:
            return self.course.report_steps
        return self._steps(kind, self._lengths[kind])

    def _steps(self, kind: str, length: int) -> float:
        return self.differentiation.steps(kind, length, self.course.validation.few_size)

    def as_plain(self) -> dict[str, Any]:
        """What was seen and planned."""
        return {
            "recorder": self.recorder.as_plain(),
            "foresight": self.forecasts.as_plain(),
            "outer": self.outer.as_plain(),
            "count": self.count,
            "timetable": self.timetable.as_plain(),
            "engines": self.engines.as_plain(),
        }

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        self.recorder.load_plain(plain["recorder"])
        self.forecasts.load_plain(plain["foresight"])
        self.outer = OuterState.from_plain(plain["outer"])
        self.count = plain["count"]
        self.timetable.load_plain(plain["timetable"])
        self.engines.load_plain(plain["engines"])

    def open_as_plain(self) -> list[dict[str, Any]]:
        """What is recorded so far; of several ranks, each has batches of its own, and none is told to the others."""
        if self.problem.ranks.count > 1:
            return []
        return [checkpoint.snapshot_as_plain(snapshot) for snapshot in self.recorder.snapshots]

    def load_open(self, plain: list[dict[str, Any]]) -> None:
        """Go on with it."""
        device = self.problem.parameters[0].device
        self.recorder.snapshots = [checkpoint.snapshot_from_plain(snapshot, device) for snapshot in plain]
