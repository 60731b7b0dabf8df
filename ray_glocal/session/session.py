"""`GlocalSession`: the training loop's partner."""

import logging
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyarrow import ArrowException
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array, Forecast
from ray_glocal.hypergradient import (
    Clipping,
    Hyperparameter,
    Problem,
    Randomness,
    Window,
)
from ray_glocal.hypergradient.problem import Loss
from ray_glocal.hypergradient.state import Values
from ray_glocal.hypergradient.tape import Tape
from ray_glocal.koopman import forecaster
from ray_glocal.session import checkpoint
from ray_glocal.session.adapted import Adapted, Folder
from ray_glocal.session.arguments import adapted_of, whole_steps
from ray_glocal.session.buffers import set_transient_buffers, transient_buffers
from ray_glocal.session.cost import PLAIN, REPORT, SEARCH, WINDOW, Cost, report_steps
from ray_glocal.session.curve import forecast_final_loss
from ray_glocal.session.differentiation import Differentiation
from ray_glocal.session.divergence import EARLY, Guard, RestorePoint
from ray_glocal.session.engines import Engines
from ray_glocal.session.foresight import Foresight
from ray_glocal.session.heat import afforded, warmed
from ray_glocal.session.loop import Loop
from ray_glocal.session.meter import Meter
from ray_glocal.session.notices import Notices
from ray_glocal.session.outer import BACK, Axes, OuterState, Plan, learn, potential, settled
from ray_glocal.session.plain import check_plain, decoded, encoded
from ray_glocal.session.recorder import Recorder
from ray_glocal.session.response import Ending, respond
from ray_glocal.session.rows import Seen, cut_off, entry_metrics, flat, return_rows, window_rows
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.settings import Settings
from ray_glocal.session.stream import Stream
from ray_glocal.session.timetable import report_period, timetable
from ray_glocal.session.trace import Trace
from ray_glocal.session.validation import Validation

logger = logging.getLogger(__name__)

CHECK_EVERY = 8  # inner steps between looks at the training loss, for each look waits for the device


class GlocalSession:
    """Adapts continuous hyperparameters while a plain torch loop trains.

    Every inner step is the user's own: zero_grad, loss, backward, optimizer step. Some consecutive ones are recorded
    as a window; differentiating the window gives a trajectory of local hypergradients, a forecaster carries it to
    the end of training, the gate says which hyperparameters may move, and the outer step moves them. Between two
    outer steps the parameters are those of the loop without a session, bit for bit.

    Args:
        model: The model to train.
        optimizer: A torch optimizer with an update rule: SGD, Adam, AdamW, RMSprop, Adagrad, Muon or `ray_glocal.Lion`.
        train_loss: `(model, batch[, hyper]) -> scalar tensor`.
        val_loss: The same for validation; called with the model in eval mode.
        val_batches: Re-iterable validation batches.
        hyper: What to adapt: `ray_glocal.adapted(config, space)`, or hyperparameters.
        total_steps: Inner steps of the whole training.
        lr_scheduler: A torch learning-rate scheduler; the session steps it after every inner step and adapts the
            rate that it multiplies, the `initial_lr` of a parameter group, or the peak that it was built with, the
            `max_lr` of `OneCycleLR` and `CyclicLR`. Nobody else may step it.
        clipping: How gradients are clipped: `Clipping(norm=1.0)`, say.
        accumulate: Micro-batches of an inner step; `batches` gathers as many from the loader.
        scaler: A gradient scaler, where losses are computed in float16; autocast belongs into the losses.
        averaged: A `torch.optim.swa_utils.AveragedModel` of the model; the session updates it after each inner step,
            reports its validation loss, and takes it along on retreats and in checkpoints. Hypergradients are those
            of the model itself: read at averaged weights, they would drive rates up until training breaks.
        constants: Names, or patterns such as `"teacher.*"`, of tensors that training changes, that losses read and that
            derivatives may take for constants all the same: a network that follows the model, a hidden state that is
            handed on. Without it their windows are dropped, and the session says so.
        trace: Folder for the trace's parquet parts; without it the trace stays in memory and in checkpoints.
        settings: Window length, time budget or duty cycle, forecaster, gate and trust region.

    Raises:
        ArgumentError: Bad arguments; see `Problem`, `Validation`, `Schedule`, `Settings` and `Hyperparameter`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train_loss: Loss,
        val_loss: Loss,
        *,
        val_batches: Iterable[Any],
        hyper: Adapted | Sequence[Hyperparameter],
        total_steps: int,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        clipping: Clipping | None = None,
        accumulate: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        averaged: AveragedModel | None = None,
        constants: Sequence[str] = (),
        trace: str | Path | None = None,
        settings: Settings | None = None,
    ) -> None:
        total_steps = whole_steps(total_steps)
        self.settings = settings or Settings()
        self.notices = Notices()
        self.adapted = adapted_of(hyper)
        self.problem = Problem(
            model,
            optimizer,
            train_loss,
            val_loss,
            self.adapted.hyperparameters,
            clipping=clipping,
            accumulate=accumulate,
            scaler=scaler,
            averaged=averaged,
            constants=constants,
        )
        self.validation = Validation(val_batches, self.settings.val_batches)
        self.total_steps = total_steps
        self.trace = Trace(trace)
        self.cost = Cost()
        self.step_count = 0
        self.values: Values = self.problem.start_values()
        self._ran = self.values  # those of the last inner step
        self._schedule = Schedule(lr_scheduler, self.problem, self.notices)
        factors = self._schedule.foresee(total_steps)
        self._say_levelled()
        self._set_values(None)
        forecasters = forecaster(self.settings.forecaster), forecaster(self.settings.search_forecaster)
        self._foresight = Foresight(self.problem, *forecasters, factors)
        self._axes = Axes.of(self.problem)
        self._outer = OuterState.start(self._axes, self.settings)
        self.report_period = report_period(self.settings, report_steps(self.validation.count))
        self._meter = Meter(self.cost, self.problem.parameters[0].device, ranks=self.problem.ranks)
        lengths = {SEARCH: self.settings.search_window, WINDOW: self.settings.window}
        memory = self.settings.memory, self.settings.host_memory
        self._tape = Tape(
            self.problem,
            max(lengths.values()),
            *memory,
            products=self.settings.products,
            say=self.notices.say,
        )
        self._engines = Engines(self.settings, self.problem.size, self._foresight.annealed)
        self._differentiation = Differentiation(self.problem, self._tape, self._meter, self._engines, self.notices.say)
        counted = {kind: self._counted(kind, length) for kind, length in lengths.items()}
        counted[REPORT] = report_steps(self.validation.count)
        self._timetable = timetable(self.settings, total_steps, self.report_period, self.cost, counted, self.notices)
        self._recorder = Recorder(self.settings, self._timetable)
        self._guard = Guard(self.settings)
        self._stream = Stream()
        self._loop = Loop(model, optimizer)
        self._train_losses: list[Tensor] = []
        self._curve: list[float] = []  # validation loss at each report
        self._windows = 0  # differentiated
        self._metrics: dict[str, float] = {}
        self._between: dict[str, float] = {}  # what was last measured between two reports
        self._discard: Callable[[], object] | None = None  # removes the last temporary folder

    # ---- the loop ----

    @property
    def done(self) -> bool:
        """Whether training has taken all its steps."""
        return self.step_count >= self.total_steps

    @property
    def at_report(self) -> bool:
        """Whether the step just taken ends a reporting period, or the training."""
        step = self.step_count
        return step > 0 and (step % self.report_period == 0 or step >= self.total_steps)

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """What inner steps are taken on, from where the session stands to the last step.

        Batches of a re-iterable loader, epoch after epoch; lists of them where micro-batches are accumulated.

        Raises:
            ArgumentError: The loader yields no batch in an epoch, is no iterable that starts anew, or is not the one of
                a checkpoint; or many batches were handed out, and `step` was called on none.
        """
        if self.validation.reads(loader):
            text = (
                "Validation is on the data that training is on: hyperparameters would be adapted to the training loss. "
                "Hold data out for `val_batches`, by `torch.utils.data.random_split` say."
            )
            self.notices.say("val_batches", text)
        stream = self._stream.batches(loader)
        count = self.problem.accumulate
        while not self.done:
            self._loop.hand_out()
            yield next(stream) if count == 1 else list(islice(stream, count))

    def step(self, batch: Any) -> Tensor:
        """Take one inner step, and whatever the window that it may complete asks for.

        Args:
            batch: What both losses understand; the training loss may write into it.

        Returns:
            The training loss before the step, detached.

        Raises:
            ArgumentError: All steps are taken, no loss has read a hyperparameter that no optimizer option bears, the
                scheduler sets an option that is adapted, or it or the optimizer was stepped beside the session.
        """
        if self.step_count >= self.total_steps:
            raise ArgumentError("total_steps", "not be exceeded", self.total_steps, "Plan for more steps.")
        self._meter.aside()
        self._loop.enter()
        self._schedule.check_alone()
        if self._guard.first is None:
            self._begin()
        self._ran = self.values
        self._foresight.advance()
        recorded = self._recorder.wants(self.step_count, searching=self._outer.searching)
        self._meter.start(self._window_kind if recorded else PLAIN)
        if recorded:
            self._recorder.snapshots = self._tape.follow(self._recorder.snapshots)
            snapshot, loss = self._tape.step(batch, self.values, len(self._recorder.snapshots))
            self._recorder.snapshots.append(snapshot)
            recorded = not self._dropped(snapshot.trouble)
        else:
            loss = self.problem.advance(batch, self.values)
        self._meter.step()
        self.step_count += 1
        self._schedule.step()  # the user's own part of it is the smaller one
        self._train_losses.append(loss)
        self._after_step(recorded)
        self._loop.leave()
        self._meter.back()
        return loss

    def _begin(self) -> None:
        """Measure where training starts; the first retreat leads there."""
        self._meter.start(REPORT)
        self.trace.begin()
        self._announce()
        loss = self._validated()
        self._guard.trust(RestorePoint.take(self.problem, self.step_count, loss, self.values))
        self._meter.complete(REPORT)
        self._meter.aside()

    def _announce(self) -> None:
        """Say what is adapted, and how often."""
        count = self._timetable.foreseen(searching=self._outer.searching)
        if count:
            names = ", ".join(hyper.name for hyper in self.problem.hyperparameters)
            logger.info("Adapts %s: about %d windows in %d steps.", names, count, self.total_steps)
        else:
            self.notices.say("no window foreseen", f"Nothing will be adapted. {self._timetable.scarcity()}")

    def _after_step(self, recorded: bool) -> None:
        """What comes after a step, `recorded` or not; after most of them nothing, which must not take long."""
        if self.step_count == 1:
            self._check_read()
        if self.step_count % CHECK_EVERY == 0:
            losses = self.problem.ranks.mean(self._train_losses[-CHECK_EVERY:])
            self._retreat(self._guard.training_jumped(losses), to_first=False)
        if recorded and self._recorder.full(searching=self._outer.searching):
            self._close_window()
        if self._outer.searching and not self._recorder.snapshots and self._timetable.exhausted(self.step_count):
            self._end_search()
        if self.done and not self._windows:
            why = "Every one was dropped." if self.notices.said("window") else self._timetable.scarcity()
            self.notices.say("no window", f"Nothing was adapted: no window was differentiated. {why}")
        if self.at_report:
            self._meter.start(REPORT)
            self._report()
            self._meter.complete(REPORT)
            self._meter.aside()
            self._timetable.review(self.step_count)

    def _check_read(self) -> None:
        """A name that neither the optimizer nor a loss knows is a slip of the pen; say so at the first step."""
        unread = [b.hyperparameter.name for b in self.problem.bindings if b.field is None]
        unread = [name for name in unread if name not in self.problem.reads]
        if unread:
            fields = ", ".join((*self.problem.rule.fields, *self.problem.rule.aliases))
            remedy = f"The optimizer's options are {fields}; any other name must be read from `hyper` by a loss."
            raise ArgumentError("hyper", "name what the optimizer or a loss uses", unread[0], remedy)

    def _say_levelled(self) -> None:
        for name, own in self.problem.levelled().items():
            told = ", ".join(f"{value:g}" for value in own)
            start = float(self.values[name])
            self.notices.say(
                f"groups of {name}",
                f"{name!r} sets parameter groups that have different values, {told}: all begin at {start:g}. Give it "
                "those that it is meant for by `groups=`.",
            )

    def _check_effect(self, series: Array) -> None:
        """Say at the first window which hyperparameter a loss reads without being differentiable in it."""
        for name in cut_off(self.problem, series) if self._windows == 1 else ():
            self.notices.say(
                f"no effect of {name}",
                f"The derivative in {name!r} is exactly zero over the whole first window: a loss that reads it as "
                f"`float(hyper[{name!r}])`, by `.item()` or `.detach()`, cuts it off, and it will never move. Use the "
                "tensor as it is.",
            )

    # ---- windows ----

    def _close_window(self) -> None:
        """Differentiate the complete window, forecast, judge, and move."""
        kind = self._window_kind
        window = self._recorder.take(self.problem, self.validation.next_few())
        self.cost.extra_steps += self._counted(kind, len(window.snapshots))
        self._heed(window)
        self._meter.complete(kind)
        self._timetable.plan(self.step_count)

    def _heed(self, window: Window) -> None:
        trajectory = self._differentiation.trajectory(window, self._window_kind)
        if self._dropped(trajectory.trouble):
            return
        self._recorder.succeed()
        self._windows += 1
        series = self.problem.pull_back(window.values, trajectory.derivatives).numpy()
        self._check_effect(series)
        if self._lost(series[-1], trajectory.loss):
            return
        if self._outer.searching:
            forecast = self._foresight.searched(series, self.step_count)
        else:
            forecast = self._foresight.forecast(window, series, trajectory.kind, self.step_count)
        self._respond(series[-1], forecast, trajectory.loss)

    def _lost(self, local: Array, loss: float) -> bool:
        """Retreat from a window that ended badly; remember the state it ended in otherwise."""
        if self._retreat(self._guard.validation_jumped(loss), to_first=False):
            return True
        if self._retreat(self._guard.collapsed(loss, self.problem), to_first=not self._guard.learned):
            return True
        progress = self.step_count / self.total_steps
        if self._retreat(self._guard.strayed(loss, self.problem, progress), to_first=True):
            return True
        if self._retreat(self._guard.exploded(local, loss), to_first=False):
            return True
        if self._retreat(self._guard.stalled(loss), to_first=False):
            return True
        if self._guard.worth_keeping(loss):
            self._guard.trust(RestorePoint.take(self.problem, self.step_count, loss, self.values))
        return False

    def _respond(self, local: Array, forecast: Forecast, loss: float) -> None:
        """Judge a forecast and take the outer step."""
        searching, progress = self._outer.searching, self.step_count / self.total_steps
        heat = afforded(self.settings.heat, self._foresight.height(self.step_count))
        plan = Plan(progress, self._foresight.annealed, heat)
        known = warmed(learn(self._outer, forecast, loss), local, loss)
        end = Ending(self.problem, self.values, local, loss)
        told = respond(end, known, self._axes, plan, self.settings)
        seen = Seen(self.problem, self.values, told.values, local, forecast, loss)
        self._outer = told.outer
        self.trace.append(window_rows(self.step_count, seen, told.verdicts))
        if told.values is not self.values:
            self._set_values(told.values)
        if searching and not self._outer.searching and progress <= EARLY:
            self._begin_anew()

    def _end_search(self) -> None:
        """The search has spent what it may: go on from where it came to."""
        self._outer = settled(self._outer)
        if self.step_count <= EARLY * self.total_steps:
            self._begin_anew()
        self._timetable.plan(self.step_count)

    def _begin_anew(self) -> None:
        """The search is over, and has moved: train from the first weights, at a rate well below where it ended.

        Its last steps were too long, or it would go on, and what they did to the network stays.
        """
        assert self._guard.first is not None
        line = self.problem.to_line(self.values)
        if torch.equal(line, self.problem.to_line(self._guard.first.values)):
            return
        back = torch.from_numpy(np.where(self._axes.rates, math.log(BACK), 0.0))
        self._guard.restart(self.problem)
        self._outer = replace(self._outer, losses=())
        self._forget()
        self._set_values(self.problem.to_values(line + back))
        reason = "the search is over: back to the first weights, with half the learning rate"
        self.trace.append(return_rows(self.step_count, self.problem, self.values, "restart", reason))

    def _dropped(self, trouble: str) -> bool:
        """Drop a window that cannot be differentiated, if there is trouble, and say why; training goes on plainly."""
        if not trouble:
            return False
        again = self._tape.repeatable
        self.notices.say("window", f"A window was dropped: {trouble}.")
        if not again:
            self.notices.say("windows", f"No further window is opened: {trouble}.")
        if self._recorder.snapshots:
            self._meter.forget()
        self._recorder.fail(self.step_count, again=again)
        return True

    def _forget(self) -> None:
        """Drop what was seen on a path that is given up."""
        if self._recorder.snapshots:
            self._meter.forget()
        self._recorder.drop()
        self._timetable.plan(self.step_count)
        self._foresight.forget()
        self._train_losses.clear()

    @property
    def _window_kind(self) -> str:
        return SEARCH if self._outer.searching else WINDOW

    def _counted(self, kind: str, length: int) -> float:
        return self._differentiation.steps(kind, length, self.validation.per_window)

    def _set_values(self, values: Values | None) -> None:
        """Hand new values (or, with none, the start values) to the optimizer and to the schedule."""
        self.problem.write_options(None if values is None else self.values, values or self.values)
        self.values = values or self.values
        self._schedule.apply()

    def _retreat(self, trouble: str, *, to_first: bool) -> bool:
        """Go back to a good state, if there is a reason and a way to do better from there.

        Early in the search that is the first: little is lost, and steps that were far too long leave their mark.
        """
        to_first |= self._outer.searching and self.step_count <= EARLY * self.total_steps
        retreat = self._guard.retreat(self.problem, self._ran, to_first=to_first) if trouble else None
        if retreat is None:
            return False
        self._forget()
        self._outer = self._outer.forget(self._axes, self.settings, self.problem.to_line(self._ran).numpy())
        self._set_values(retreat.values)
        reason = f"{trouble}: {retreat.sentence}"
        self.trace.append(return_rows(self.step_count, self.problem, retreat.values, "roll back", reason))
        return True

    # ---- reports ----

    def _report(self) -> None:
        loss = self._validated()
        # Averaged weights lag behind, and say nothing of a jump.
        if self.problem.averaged is None and self._retreat(self._guard.validation_jumped(loss), to_first=False):
            loss = self._validated()
        self._curve.append(loss)
        reports_left = (self.total_steps - self.step_count) / self.report_period
        foretold = forecast_final_loss(self._curve, reports_left)
        self._metrics = self._told(loss, float(foretold.mean[0]), float(foretold.deviation[0]))
        self._train_losses.clear()

    def _told(self, loss: float, mean: float, deviation: float) -> dict[str, float]:
        """What there is to tell now, of a validation loss and a forecast of its end."""
        told = {
            "val_loss": loss,
            "train_loss": _mean(self.problem.ranks.mean(self._train_losses)) if self._train_losses else float("nan"),
            "step": self.step_count,
            "total_steps": self.total_steps,
            "forecast/final_loss": mean,
            "forecast/deviation": deviation,
            "potential": self._potential(loss),
            "rollbacks": self._guard.rollbacks,
            "windows": self._windows,
        }
        told |= entry_metrics("hyper", self.problem, flat(self.values))
        return told | entry_metrics("elasticity", self.problem, self._outer.elasticity)

    def _present(self) -> dict[str, float]:
        """What the report of this step measured; where it has none, what one would, which nothing else may notice."""
        if self._metrics.get("step") == self.step_count or self.problem.ranks.count > 1:
            return self._metrics
        if self._between.get("step") != self.step_count:
            self._meter.start(REPORT)
            forecast = (self._metrics.get(f"forecast/{name}", math.nan) for name in ("final_loss", "deviation"))
            self._between = self._told(self._validated(), *forecast)
            self._meter.complete(REPORT)
        return self._between

    def _potential(self, loss: float) -> float:
        windows_left = self._timetable.windows_left(self.step_count)
        return potential(self._outer, loss, windows_left, self._axes.vectors)

    def _validated(self) -> float:
        self.cost.extra_steps += report_steps(self.validation.count)
        return self.validation.mean(lambda batch: self.problem.mean_val_loss([batch], self.values, averaged=True))

    def metrics(self) -> dict[str, Any]:
        """What training has come to now, with the cost up to here; flat, ready for `tune.report`.

        At a report (`at_report`) it is measured already; at any other step the validation loss is taken when this is
        asked for, at a report's cost, and training goes on as if it had not been. Of several ranks, which would have to
        ask together, the last report is told.

        Keys: `val_loss`, `train_loss` (mean since the last report), `step`, `total_steps`, `forecast/final_loss` and
        `forecast/deviation` (as of the last report; NaN while too little is known), `potential`, `rollbacks`, `windows`
        (differentiated so far), `hyper/<name>`, `elasticity/<name>`, and `cost/steps` (inner-step equivalents),
        `cost/seconds`, `cost/share` (of the seconds that went into anything but plain training) and `cost/overhead`
        (those seconds over plain training's).
        `warnings` is how many the session has given so far, and `warning` their texts, a line each.
        """
        return {**self._present(), **self.cost.metrics(), **self.notices.metrics()}

    # ---- checkpoints ----

    def save(self, folder: str | Path) -> None:
        """Write all that is needed to go on exactly: also in the middle of a window, of an epoch, of a schedule.

        Raises:
            ArgumentError: Inside a window whose batches are not made of tensors, numbers and text; or a state, of the
                scheduler say, holds what could not be restored. Nothing is written then.
        """
        self._meter.stop()
        plain, resume = self._as_plain(), self._resume_as_plain()
        check_plain({**plain, **resume})
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        # The trace goes first: rows after the step of the other file, from a save that was cut short, are dropped.
        self.trace.save(place / checkpoint.TRACE)
        checkpoint.write(place, plain, resume)

    def checkpoint(self) -> Any:
        """Save into a fresh temporary folder and package it, for `tune.report`; the one before it is removed."""
        fresh = Path(tempfile.mkdtemp(prefix="glocal-session-"))
        discard = weakref.finalize(self, shutil.rmtree, fresh, ignore_errors=True)
        self.save(fresh)
        self.close()
        self._discard = discard
        return self.adapted.package(fresh)

    def close(self) -> None:
        """Remove the temporary folder of the last `checkpoint`; without a call that happens with the session's end."""
        if self._discard is not None:
            self._discard()
            self._discard = None

    def restore(self, source: str | Path | Folder | None) -> None:
        """Go on from a checkpoint; on a fresh start (`None`) take the ancestor's weights if there are any to be read.

        Args:
            source: A folder, an object with `as_directory()` such as `ray.tune.Checkpoint`, or `None`.

        Raises:
            ArgumentError: The folder holds no readable session, or one of another version, length, optimizer or
                schedule, or of other hyperparameters; or its trial had ended, and only the weights were kept.
        """
        if source is None:
            if self.adapted.ancestor is not None:
                try:
                    with checkpoint.opened(self.adapted.ancestor) as folder:
                        self._inherit(folder)
                except (ArgumentError, OSError, ArrowException) as error:  # `as_directory` may reach over a network
                    text = f"The ancestor's checkpoint cannot be read: starting afresh. {error}"
                    self.notices.say("ancestor", text)
            return
        held = nullcontext(str(source)) if isinstance(source, str | Path) else source.as_directory()
        with held as folder:
            plain = checkpoint.read(Path(folder))
            checkpoint.check_same(plain["identity"], self._identity())
            self._load_plain({**plain, **checkpoint.read_resume(Path(folder), plain)})
            self.trace.load(Path(folder) / checkpoint.TRACE, self.step_count)

    def _inherit(self, folder: Path) -> None:
        """Take an ancestor's weights if every one fits; a half-inherited network is worse than a fresh one.

        Its learning rate came along with them, so that its order of magnitude need not be searched for.
        """
        theirs = checkpoint.read(folder)
        if checkpoint.fits(theirs["model"], self.problem.model.state_dict()):
            self.problem.model.load_state_dict(theirs["model"])
            self._guard.inherit(theirs["guard"])
            self._outer = replace(self._outer, searching=False)

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the session that goes on from it."""
        return {
            "hyperparameters": checkpoint.shapes(self.values),
            "total_steps": self.total_steps,
            "optimizer": type(self.problem.optimizer).__name__,
            "lr_scheduler": self._schedule.kind,
        }

    def _as_plain(self) -> dict[str, Any]:
        """The weights, and all that is small."""
        return {
            "identity": self._identity(),
            "step": self.step_count,
            "values": dict(self.values),
            "model": self.problem.model.state_dict(),
            "averaged": None if self.problem.averaged is None else self.problem.averaged.state_dict(),
            "schedule": encoded(self._schedule.as_plain()),
            "randomness": Randomness.capture().as_plain(),
            "stream": self._stream.as_plain(),
            "cursor": self.validation.cursor,
            "recorder": self._recorder.as_plain(),
            "foresight": self._foresight.as_plain(),
            "outer": self._outer.as_plain(),
            "guard": self._guard.as_plain(),
            "train_losses": list(self._train_losses),
            "curve": list(self._curve),
            "metrics": dict(self._metrics),
            "windows": self._windows,
            "cost": self.cost.as_plain(),
            "timetable": self._timetable.as_plain(),
            "engines": self._engines.as_plain(),
            "notices": self.notices.as_plain(),
        }

    def _resume_as_plain(self) -> dict[str, Any]:
        """What is as large as the weights, or several times as large, and only an exact resume needs."""
        return {
            "transient": transient_buffers(self.problem.model),
            "optimizer": encoded(self.problem.optimizer.state_dict()),
            "scaler": None if self.problem.scaler is None else self.problem.scaler.state_dict(),
            "snapshots": self._open_window(),
            "points": self._guard.points_as_plain(),
        }

    def _open_window(self) -> list[dict[str, Any]]:
        """What is recorded so far; of several ranks, each has batches of its own, and none is told to the others."""
        if self.problem.ranks.count > 1:
            return []
        return [checkpoint.snapshot_as_plain(snapshot) for snapshot in self._recorder.snapshots]

    def _load_plain(self, plain: dict[str, Any]) -> None:
        device = self.problem.parameters[0].device
        self.step_count = plain["step"]
        self.values = plain["values"]
        self.problem.model.load_state_dict(plain["model"])
        set_transient_buffers(self.problem.model, plain["transient"])
        self.problem.optimizer.load_state_dict(decoded(plain["optimizer"]))
        if self.problem.scaler is not None and plain["scaler"] is not None:
            self.problem.scaler.load_state_dict(plain["scaler"])
        if self.problem.averaged is not None and plain["averaged"] is not None:
            self.problem.averaged.load_state_dict(plain["averaged"])
        self._schedule.load_plain(decoded(plain["schedule"]))
        self._stream.load_plain(plain["stream"])
        self.validation.cursor = plain["cursor"]
        self._recorder.snapshots = [checkpoint.snapshot_from_plain(snapshot, device) for snapshot in plain["snapshots"]]
        self._recorder.load_plain(plain["recorder"])
        self._foresight.load_plain(plain["foresight"])
        self._outer = OuterState.from_plain(plain["outer"])
        self._guard.load_plain(plain["guard"], plain["points"])
        self._train_losses = [loss.to(device) for loss in plain["train_losses"]]
        self._curve = plain["curve"]
        self._metrics, self._between = plain["metrics"], {}
        self._windows = plain["windows"]
        self.cost.load_plain(plain["cost"])
        self._timetable.load_plain(plain["timetable"])
        self._engines.load_plain(plain["engines"])
        self.notices.load_plain(plain["notices"])
        self.problem.reads |= set(self.values)
        Randomness.from_plain(plain["randomness"]).restore()


def _mean(losses: Sequence[Tensor]) -> float:
    return float(torch.stack(list(losses)).double().mean())
