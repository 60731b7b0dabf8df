"""The course of a training: where it stands, and how it is led elsewhere."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.first_order.averages import Averages
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.names import GO_BACK, HOLD, RESTART, ROLL_BACK
from ray_glocal.session.divergence import Guard, RestorePoint, Retreat
from ray_glocal.session.notices import Notices
from ray_glocal.session.outline import Outline
from ray_glocal.session.pacing.cost import report_steps
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.pacing.timetable import report_period
from ray_glocal.session.rows import standing_rows
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.settings import Settings
from ray_glocal.session.state.generators import undisturbed
from ray_glocal.session.state.trace import Trace
from ray_glocal.session.validation import ValidationBatches


class Course:
    """Where a training stands: what a session shares with whoever adapts its hyperparameters.

    It counts steps, holds the present values, and leads training elsewhere: back to an earlier state, or anew.

    Args:
        problem: The bilevel problem.
        schedule: Of the learning rates.
        validation: Batches of the outer problem.
        meter: Books what things cost.
        trace: Of what was decided.
        notices: What there is to say.
        total_steps: Inner steps of the whole training.
        settings: Of the session.
    """

    def __init__(
        self,
        problem: Problem,
        schedule: Schedule,
        validation: ValidationBatches,
        meter: Meter,
        trace: Trace,
        notices: Notices,
        total_steps: int,
        settings: Settings,
    ) -> None:
        self.problem, self.schedule, self.validation, self.meter = problem, schedule, validation, meter
        self.trace, self.notices, self.total_steps, self.settings = trace, notices, total_steps, settings
        self.step_count = 0
        self.report_period: int  # inner steps between reports
        self.plan_reports()
        self.began = 0  # step from which the present weights have trained on: what led elsewhere is none of theirs
        self.inherited = 0  # steps that an ancestor's weights had been trained
        self.values: Values = problem.start_values()
        self.ran = self.values  # those of the last inner step
        self.factors = schedule.foresee(total_steps)
        self.outline = Outline(self.factors)
        self.guard = Guard(settings)
        self.averages = Averages(problem)
        self.lowest = math.inf  # loss of a whole pass at the session's averaged weights, on any path
        self.train_losses: list[Tensor] = []
        self.forget: Callable[[], None] = lambda: None  # what was seen on a path that is given up

    def compare_batches(self, batch: Any, few: Sequence[Any]) -> None:
        """Learn from the first batch how large a few of validation are beside it, and so how often to report."""
        validation = self.validation
        validation.compare(few, self.problem.parts(batch))
        validation.size = self.problem.ranks.agreed(validation.size)
        self.plan_reports()

    def plan_reports(self) -> None:
        """Say how often to report, by the counted cost of it."""
        self.report_period = report_period(self.settings, self.report_steps, self.total_steps)

    @property
    def report_steps(self) -> float:
        """Inner-step equivalents of a whole pass over the validation part."""
        return report_steps(self.validation.whole_size)

    @property
    def progress(self) -> float:
        """Share of training that has passed."""
        return self.step_count / self.total_steps

    @property
    def done(self) -> bool:
        """Whether training has taken all its steps."""
        return self.step_count >= self.total_steps

    def set_values(self, values: Values | None) -> None:
        """Hand new values (or, with none, the start values) to the optimizer and to the schedule."""
        self.problem.write_options(None if values is None else self.values, values or self.values)
        self.values = values or self.values
        self.schedule.apply()

    def loss(self, *, theirs: bool = False) -> float:
        """Validation loss of a whole pass at the weights that train, or at the user's own average of them."""
        self.meter.cost.extra_steps += self.report_steps
        return self.validation.mean(lambda batches: self.problem.mean_val_loss(batches, self.values, averaged=theirs))

    def averaged_loss(self) -> float:
        """Validation loss of a whole pass at the session's averaged weights."""
        with self.averages.applied():
            loss = self.loss()
        self.lowest = min(self.lowest, loss)  # which NaN leaves as it is
        return loss

    def few_loss(self, place: int) -> float:
        """Validation loss, at the weights that the model has, of the few batches from a place on."""
        batches = self.validation.few(place)
        with undisturbed(batches):
            return self.problem.mean_val_loss(batches, self.values)

    def keep(self, loss: float) -> None:
        """Remember the present state as one that is worth going back to."""
        self.guard.keep(RestorePoint.take(self.problem, self.step_count, loss, self.values))

    def retreat(self, trouble: str, *, to_first: bool) -> Retreat | None:
        """Go back to a good state, if there is trouble and a way to do better from there."""
        if trouble and self.guard.exhausted:
            self._say_exhausted(trouble)
        found = self.guard.retreat(self.problem, self.ran, to_first=to_first) if trouble else None
        if found is None:
            return None
        assert self.guard.good is not None
        self._go_on(found.values, self.guard.good.step, ROLL_BACK, f"{trouble}: {found.sentence}")
        return found

    def _say_exhausted(self, trouble: str) -> None:
        text = (
            f"Training went back to good weights {self.guard.rollbacks} times, as often as it may, and is in trouble "
            f"again: {trouble}. It goes on as it is. Lower the upper bound of the learning rate, or look for the fault "
            "in losses and data."
        )
        self.notices.say("retreat", text)

    def go_back(self, values: Values, reason: str) -> None:
        """Go on from the last good state, with other hyperparameters."""
        assert self.guard.good is not None
        self.guard.good.apply(self.problem)
        self._go_on(values, self.guard.good.step, GO_BACK, reason)

    def begin_anew(self, values: Values, reason: str) -> None:
        """Train from the first weights, with other hyperparameters."""
        self.guard.restart(self.problem)
        assert self.guard.first is not None
        self._go_on(values, self.guard.first.step, RESTART, reason)

    def _go_on(self, values: Values, back_to: int, gate: str, reason: str) -> None:
        """Leave the path that led here: the weights are those of an earlier step."""
        self.began = self.step_count - max(back_to - self.began, 0)
        self.train_losses.clear()
        self.averages.restart()
        self.forget()
        self._record_kept(back_to)
        self.set_values(values)
        rows = standing_rows(self.step_count, self.problem, values, gate, reason)
        self.trace.append([replace(row, back_to=back_to) for row in rows])

    def _record_kept(self, back_to: int) -> None:
        """Put down which values the steps had that stay, of those since the trace's last row: nothing else tells it."""
        rows = self.trace.rows
        if back_to > (rows[-1].step if rows else 0):
            reason = f"stood here up to step {back_to}, to whose weights training goes back"
            self.trace.append(standing_rows(self.step_count, self.problem, self.values, HOLD, reason))

    def as_plain(self) -> dict[str, Any]:
        """Where training stands, as plain data."""
        return {
            "step": self.step_count,
            "began": self.began,
            "inherited": self.inherited,
            "values": dict(self.values),
            "lowest": self.lowest,
            "train_losses": list(self.train_losses),
        }

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        device = self.problem.parameters[0].device
        self.step_count, self.values = plain["step"], plain["values"]
        self.began, self.inherited, self.lowest = plain["began"], plain["inherited"], plain["lowest"]
        self.train_losses = [loss.to(device) for loss in plain["train_losses"]]
