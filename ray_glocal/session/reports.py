"""What a session reports: at the ends of its reporting periods, and in between whenever somebody asks."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from ray_glocal.names import (
    ELASTICITY,
    FINAL_DEVIATION,
    FINAL_LOSS,
    HYPER,
    LINEAGE_STEPS,
    OWN_STEPS,
    POTENTIAL,
    ROLLBACKS,
    SEARCHING,
    STEP,
    TIMESTEPS,
    TOTAL_STEPS,
    TRAIN_LOSS,
    VAL_LOSS,
    WINDOWS,
)
from ray_glocal.session.adaptation import Adaptation
from ray_glocal.session.averaged import AveragedWeights
from ray_glocal.session.course import Course
from ray_glocal.session.curve import forecast_final_loss
from ray_glocal.session.pacing.cost import REPORT
from ray_glocal.session.rows import entry_metrics, flat


class Reports:
    """Measures where a training stands, and foretells where it will end.

    Args:
        course: Of the training.
        adaptation: Of its hyperparameters.
        averaged: The averaged weights.
    """

    def __init__(self, course: Course, adaptation: Adaptation, averaged: AveragedWeights) -> None:
        self._course, self._adaptation, self._averaged = course, adaptation, averaged
        self._curve: list[float] = []  # validation loss at each report
        self._last: dict[str, float] = {}
        self._between: dict[str, float] = {}  # what was last measured between two reports

    @property
    def due(self) -> bool:
        """Whether the step just taken ends a reporting period, or the training."""
        step = self._course.step_count
        return step > 0 and (step % self._course.report_period == 0 or self._course.done)

    def take(self) -> float:
        """Report; the validation loss."""
        course = self._course
        course.meter.start(REPORT)
        loss = self._judged()
        self._curve.append(loss)
        left = (course.total_steps - course.step_count) / course.report_period
        foretold = forecast_final_loss(self._curve, left)
        self._last = self._metrics(loss, float(foretold.mean[0]), float(foretold.deviation[0]))
        course.train_losses.clear()
        course.meter.complete(REPORT)
        course.meter.aside()
        return loss

    def present(self) -> dict[str, float]:
        """What the report of this step measured; where it has none, what one would, which nothing else may notice."""
        course = self._course
        if self._last.get(STEP) == course.step_count or course.problem.ranks.count > 1:
            return self._last
        if self._between.get(STEP) != course.step_count:
            course.meter.start(REPORT)
            forecast = (self._last.get(name, math.nan) for name in (FINAL_LOSS, FINAL_DEVIATION))
            self._between = self._metrics(self._loss(), *forecast)
            course.meter.complete(REPORT)
        return self._between

    def _judged(self) -> float:
        """The validation loss that a report tells, after a retreat where it has jumped.

        Where hypergradients are taken at averaged weights, so are jumps judged, there and not here.
        """
        if self._adaptation.judges_averages:
            return self._loss()
        loss = self._course.loss()
        if self._adaptation.retreat(self._course.guard.validation_jumped(loss), to_first=False):
            loss = self._course.loss()
        return self._averaged.loss() if self._averaged.reported else loss

    def _loss(self) -> float:
        return self._averaged.loss() if self._averaged.reported else self._course.loss()

    def _metrics(self, loss: float, mean: float, deviation: float) -> dict[str, float]:
        """What there is to tell now, of a validation loss and a forecast of its end."""
        course, problem = self._course, self._course.problem
        own = course.step_count - course.began
        metrics = {
            VAL_LOSS: loss,
            TRAIN_LOSS: self._mean_training_loss(),
            STEP: course.step_count,
            TIMESTEPS: course.step_count,  # what Tune's loggers take for the x axis
            TOTAL_STEPS: course.total_steps,
            FINAL_LOSS: mean,
            FINAL_DEVIATION: deviation,
            POTENTIAL: self._adaptation.potential(loss),
            ROLLBACKS: course.guard.rollbacks,
            WINDOWS: self._adaptation.count,
            SEARCHING: int(self._adaptation.searching),
            OWN_STEPS: own,
            LINEAGE_STEPS: own + course.inherited,
        }
        metrics |= entry_metrics(HYPER, problem, flat(course.values))
        return metrics | entry_metrics(ELASTICITY, problem, self._adaptation.elasticity)

    def _mean_training_loss(self) -> float:
        losses = self._course.train_losses
        return float(torch.stack(self._course.problem.ranks.mean(losses)).double().mean()) if losses else math.nan

    def as_plain(self) -> dict[str, Any]:
        """What was reported, as plain data."""
        return {"curve": list(self._curve), "metrics": dict(self._last)}

    def load_plain(self, plain: Mapping[str, Any]) -> None:
        """Inverse of `as_plain`."""
        self._curve, self._last, self._between = plain["curve"], plain["metrics"], {}
