"""`GlocalSession`: the training loop's partner."""

import logging
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from pyarrow import ArrowException
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ray_glocal.errors import ArgumentError, CheckpointError, UnreadError
from ray_glocal.hypergradient import Clipping, Hyperparameter, Problem, Randomness
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.losses import Loss
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.hypergradient.state.copies import copied, write
from ray_glocal.hypergradient.state.preservation import evaluating
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
    TOTAL_STEPS,
    TRACE_FILE,
    TRAIN_LOSS,
    VAL_LOSS,
)
from ray_glocal.session.adaptation import Adaptation
from ray_glocal.session.adapted import Adapted, Folder
from ray_glocal.session.arguments import adapted_of, whole_steps
from ray_glocal.session.bounds import say_bounds
from ray_glocal.session.course import Course
from ray_glocal.session.curve import forecast_final_loss
from ray_glocal.session.effect import say_unreached
from ray_glocal.session.first_order.adaptation import FirstOrder
from ray_glocal.session.loop import Loop
from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.cost import PROBE, REPORT, WINDOW, Cost, report_steps
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.pacing.timetable import report_period
from ray_glocal.session.rows import entry_metrics, flat
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.settings import Settings
from ray_glocal.session.state import checkpoint
from ray_glocal.session.state.buffers import set_transient_buffers, transient_buffers
from ray_glocal.session.state.plain import check_plain, decoded, encoded
from ray_glocal.session.state.stream import Stream
from ray_glocal.session.state.trace import Trace
from ray_glocal.session.tuning import CHECK_EVERY
from ray_glocal.session.validation import Validation
from ray_glocal.session.windows.adaptation import ByWindows

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)

AVERAGED = "module."  # before the names of an `AveragedModel`'s weights


class GlocalSession:
    """Adapts continuous hyperparameters while a plain torch loop trains.

    Every inner step is the user's own: zero_grad, loss, backward, optimizer step. By default a session first searches
    for the learning rate's order of magnitude, and then moves all hyperparameters a little and often, by first-order
    hypergradients at averaged weights. By `Settings(hypergradients="windows")` it differentiates some consecutive
    steps, a window, and forecasts their local hypergradients to the end of training. Between two outer steps the
    parameters are those of the loop without a session, bit for bit.

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
            reports its validation loss, and takes it along on retreats and in checkpoints. Hypergradients do
            not read it.
        constants: Names, or patterns such as `"teacher.*"`, of tensors that training changes, that losses read and that
            derivatives may take for constants all the same: a network that follows the model, a hidden state that is
            handed on. Without it their windows are dropped, and the session says so.
        trace: Folder for the trace's parquet parts; without it the trace stays in memory and in checkpoints.
        settings: Kind of hypergradients, time budget or duty cycle, window length, and all else that has a default.

    Examples:
        >>> import ray_glocal
        >>> model, data = nn.Linear(4, 1), [(torch.ones(8, 4), torch.ones(8, 1))]
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        >>> def loss(model, batch):
        ...     return nn.functional.mse_loss(model(batch[0]), batch[1])
        >>> rate = Hyperparameter("lr", 1e-3, lower=1e-5, upper=1.0, scale="log")
        >>> val = [(torch.ones(4, 4), torch.ones(4, 1))]
        >>> session = ray_glocal.GlocalSession(
        ...     model, optimizer, loss, loss, val_batches=val, hyper=[rate], total_steps=100
        ... )
        >>> for batch in session.batches(data):
        ...     loss_before = session.step(batch)
        >>> session.done, float(session.values["lr"]) > 1e-3
        (True, True)

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
        self.validation = Validation(val_batches, self.settings.batches_per_window)
        self.total_steps = total_steps
        self.trace = Trace(trace)
        self.cost = Cost()
        self._schedule = Schedule(lr_scheduler, self.problem, self.notices)
        self._meter = Meter(self.cost, self.problem.parameters[0].device, ranks=self.problem.ranks)
        parts = self.problem, self._schedule, self.validation, self._meter, self.trace, self.notices
        self._course = Course(*parts, total_steps, self.settings)
        self._guard = self._course.guard
        self._say_levelled()
        self._course.set_values(None)
        self.report_period = report_period(self.settings, report_steps(self.validation.count), total_steps)
        kind = ByWindows if self.settings.hypergradients == "windows" else FirstOrder
        self._adaptation: Adaptation = kind(self._course, self.report_period)
        self._stream = Stream()
        self._loop = Loop(model, optimizer)
        self._curve: list[float] = []  # validation loss at each report
        self._metrics: dict[str, float] = {}
        self._between: dict[str, float] = {}  # what was last measured between two reports
        self._discard: Callable[[], object] | None = None  # removes the last temporary folder

    @property
    def step_count(self) -> int:
        """Inner steps taken."""
        return self._course.step_count

    @property
    def values(self) -> Values:
        """The hyperparameters as they are."""
        return self._course.values

    # ---- the loop ----

    @property
    def done(self) -> bool:
        """Whether training has taken all its steps."""
        return self._course.done

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
        self._check_held_out(loader)
        stream = self._stream.batches(loader)
        count = self.problem.accumulate
        while not self.done:
            self._loop.hand_out()
            yield next(stream) if count == 1 else list(islice(stream, count))

    def epochs(self, loader: Iterable[Any]) -> Iterator[Iterator[Any]]:
        """The epochs that are left, each of the batches that inner steps are taken on.

        The first is what is left of the one in which the session stands; the last ends with the last step. Where
        micro-batches are accumulated, those that are left over at an epoch's end are passed over.

        Raises:
            ArgumentError: See `batches`.
        """
        self._check_held_out(loader)
        while not self.done:
            yield self._epoch(loader)

    def _epoch(self, loader: Iterable[Any]) -> Iterator[Any]:
        stream, count = self._stream.epoch_of(loader), self.problem.accumulate
        while not self.done:
            group = list(islice(stream, count))
            if len(group) < count:
                return
            self._loop.hand_out()
            yield group[0] if count == 1 else group

    def _check_held_out(self, loader: Iterable[Any]) -> None:
        if self.validation.reads(loader):
            text = (
                "Validation is on the data that training is on: hyperparameters would be adapted to the training loss. "
                "Hold data out for `val_batches`, by `torch.utils.data.random_split` say."
            )
            self.notices.say("val_batches", text)

    def evaluate(self, measure: Callable[[nn.Module], Answer]) -> Answer:
        """What a function makes of the model as reports see it: in eval mode, at averaged weights, without gradients.

        Training goes on as if it had not been asked for: buffers, modes and random generators come back. Its time is
        the caller's, and not booked.

        Args:
            measure: Takes the model; an accuracy, say.
        """
        model, randomness = self.problem.model, Randomness.capture()
        self._meter.stop()
        weights = self.averaged_weights() if self._averaging else nullcontext()
        try:
            with self.problem.undisturbed(), weights, evaluating(model), torch.no_grad():
                return measure(model)
        finally:
            randomness.restore()

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
        course = self._course
        self._meter.aside()
        self._loop.enter()
        self._schedule.check_alone()
        if self._guard.first is None:
            self._begin(batch)
        course.ran = course.values
        loss = self._adaptation.step(batch)
        course.step_count += 1
        course.train_losses.append(loss)
        course.averages.update(course.step_count)
        self._after_step()
        self._loop.leave()
        self._meter.back()
        return loss

    def _begin(self, batch: Any) -> None:
        """Measure where training starts; the first retreat leads there."""
        self._meter.start(REPORT)
        self.trace.begin()
        self._announce()
        self._course.keep(self._validated(averaged=False))
        self._meter.complete(REPORT)
        self._meter.start(PROBE)
        self._say_unreached(batch)
        self._adaptation.begin(batch)
        self._meter.complete(PROBE)
        self._meter.aside()

    def _say_unreached(self, batch: Any) -> None:
        few = self.validation.few(self.validation.cursor)
        self.cost.extra_steps += say_unreached(self.problem, self.notices, batch, few, self.values)

    def _announce(self) -> None:
        """Say what is adapted, and how often."""
        count = self._adaptation.foreseen()
        if count:
            names = ", ".join(hyper.name for hyper in self.problem.hyperparameters)
            logger.info("Adapts %s: about %d windows in %d steps.", names, count, self.total_steps)
        else:
            self.notices.say("no window foreseen", f"Nothing will be adapted. {self._adaptation.scarcity()}")

    def _after_step(self) -> None:
        """What comes after a step; after most of them nothing, which must not take long."""
        course = self._course
        if course.step_count == 1:
            self._check_read()
        if course.step_count % CHECK_EVERY == 0:
            losses = self.problem.ranks.mean(course.train_losses[-CHECK_EVERY:])
            self._adaptation.retreat(self._guard.training_jumped(losses), to_first=False)
        self._adaptation.respond()
        if self.done and not self._adaptation.count:
            why = "Every one was dropped." if self.notices.said("window") else self._adaptation.scarcity()
            self.notices.say("no window", f"Nothing was adapted: no window was differentiated. {why}")
        elif self.done:
            self._say_searched_alone()
        if self.at_report:
            self._meter.start(REPORT)
            self._report()
            self._meter.complete(REPORT)
            self._meter.aside()
            self._adaptation.review(self._curve[-1])
        if self.done:
            say_bounds(self.problem, self.notices, self.values)

    def _check_read(self) -> None:
        """A name that neither the optimizer nor a loss knows is a slip of the pen; say so at the first step."""
        unread = [b.hyperparameter.name for b in self.problem.bindings if b.field is None]
        unread = [name for name in unread if name not in self.problem.reads]
        if unread:
            fields = ", ".join((*self.problem.rule.fields, *self.problem.rule.aliases))
            remedy = f"The optimizer's options are {fields}; any other name must be read from `hyper` by a loss."
            raise UnreadError("hyper", "name what the optimizer or a loss uses", unread[0], remedy)

    def _say_searched_alone(self) -> None:
        """At the end: what is no learning rate was never looked at, for the search took all hypergradients."""
        others = [b.hyperparameter.name for b in self.problem.bindings if b.field != "lr"]
        if others and WINDOW not in self.cost.first:
            pace = "overhead" if self.settings.duty_cycle is None else "duty_cycle"
            self.notices.say(
                "search alone",
                f"Only the learning rate was adapted: its search took all {self._adaptation.count} hypergradients, and "
                f"nothing was learned of {listed(others)}. Train longer, or raise `Settings({pace}=...)`.",
            )

    def _say_levelled(self) -> None:
        for name, own in self.problem.levelled().items():
            told = ", ".join(f"{value:g}" for value in own)
            start = float(self.values[name])
            self.notices.say(
                f"groups of {name}",
                f"{name!r} sets parameter groups that have different values, {told}: all begin at {start:g}. Give it "
                "those that it is meant for by `groups=`.",
            )

    # ---- reports ----

    def _report(self) -> None:
        loss = self._judged()
        self._curve.append(loss)
        reports_left = (self.total_steps - self.step_count) / self.report_period
        foretold = forecast_final_loss(self._curve, reports_left)
        self._metrics = self._told(loss, float(foretold.mean[0]), float(foretold.deviation[0]))
        self._course.train_losses.clear()

    def _judged(self) -> float:
        """The validation loss that a report tells, after a retreat where it has jumped.

        Where hypergradients are taken at averaged weights, so are jumps judged, there and not here.
        """
        if self._adaptation.averaged:
            return self._validated(averaged=self._averaging)
        loss = self._validated(averaged=False)
        if self._adaptation.retreat(self._guard.validation_jumped(loss), to_first=False):
            loss = self._validated(averaged=False)
        return self._validated(averaged=True) if self._averaging else loss

    @property
    def _averaging(self) -> bool:
        """Whether reports are at averaged weights."""
        return self.settings.averaging or self.problem.averaged is not None

    def _told(self, loss: float, mean: float, deviation: float) -> dict[str, float]:
        """What there is to tell now, of a validation loss and a forecast of its end."""
        losses = self._course.train_losses
        told = {
            VAL_LOSS: loss,
            TRAIN_LOSS: _mean(self.problem.ranks.mean(losses)) if losses else float("nan"),
            STEP: self.step_count,
            "timesteps_total": self.step_count,  # what Tune's loggers take for the x axis
            TOTAL_STEPS: self.total_steps,
            FINAL_LOSS: mean,
            FINAL_DEVIATION: deviation,
            POTENTIAL: self._adaptation.potential(loss),
            ROLLBACKS: self._guard.rollbacks,
            "windows": self._adaptation.count,
            SEARCHING: int(self._adaptation.searching),
            OWN_STEPS: self.step_count - self._course.began,
            LINEAGE_STEPS: self.step_count - self._course.began + self._course.inherited,
        }
        told |= entry_metrics(HYPER, self.problem, flat(self.values))
        return told | entry_metrics(ELASTICITY, self.problem, self._adaptation.elasticity)

    def _present(self) -> dict[str, float]:
        """What the report of this step measured; where it has none, what one would, which nothing else may notice."""
        if self._metrics.get(STEP) == self.step_count or self.problem.ranks.count > 1:
            return self._metrics
        if self._between.get(STEP) != self.step_count:
            self._meter.start(REPORT)
            forecast = (self._metrics.get(name, math.nan) for name in (FINAL_LOSS, FINAL_DEVIATION))
            self._between = self._told(self._validated(averaged=self._averaging), *forecast)
            self._meter.complete(REPORT)
        return self._between

    def _validated(self, *, averaged: bool) -> float:
        """Validation loss at averaged weights, the user's own average where there is one, or at those that train."""
        theirs = averaged and self.problem.averaged is not None
        if averaged and not theirs:
            return self._course.averaged_loss()
        self.cost.extra_steps += report_steps(self.validation.count)
        return self.validation.mean(lambda b: self.problem.mean_val_loss(b, self.values, averaged=theirs))

    def metrics(self) -> dict[str, Any]:
        """What training has come to now, with the cost up to here; flat, ready for `tune.report`.

        At a report (`at_report`) it is measured already; at any other step the validation loss is taken when this is
        asked for, at a report's cost, and training goes on as if it had not been. Of several ranks, which would have to
        ask together, the last report is told.

        Keys: `val_loss`, `train_loss` (mean since the last report), `step` (as `timesteps_total`, too), `total_steps`,
        `forecast/final_loss` and `forecast/deviation` (as of the last report; NaN while too little is known),
        `potential`, `rollbacks`, `windows` (differentiated so far), `searching` (1 while the learning rate's order of
        magnitude is searched for), `lineage/own` (steps that led to the present weights since training last began anew)
        and `lineage/steps` (those and the steps of inherited weights), `hyper/<name>`, `elasticity/<name>`, and
        `cost/steps` (in inner steps), `cost/seconds`, `cost/share` (of the seconds that went into anything but plain
        training) and `cost/overhead` (those seconds over plain training's).
        `warnings` is how many the session has given so far, and `warning` their texts, a line each.
        """
        return {**self._present(), **self.cost.metrics(), **self.notices.metrics()}

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Let the model have the averaged weights, and its own again afterwards: to evaluate it, or to keep them.

        They are those of the `averaged=` that the session was given, or its own.
        """
        theirs = self.problem.averaged
        if theirs is None:
            with self._course.averages.applied():
                yield
            return
        own, averaged = ([*held.parameters(), *held.buffers()] for held in (self.problem.model, theirs.module))
        held = copied(own)
        write(own, averaged)
        try:
            yield
        finally:
            write(own, held)

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
        self.trace.save(place / TRACE_FILE)
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
            CheckpointError: The folder holds no readable session, or one of another version, length, optimizer or
                schedule, or of other hyperparameters; or its trial had ended, and only the weights were kept.
        """
        if source is None:
            if self.adapted.ancestor is not None:
                try:
                    with checkpoint.opened(self.adapted.ancestor) as folder:
                        self._inherit(folder)
                except (CheckpointError, OSError, ArrowException) as error:  # `as_directory` may reach over a network
                    text = f"The ancestor's checkpoint cannot be read: starting afresh. {error}"
                    self.notices.say("ancestor", text)
            return
        held = nullcontext(str(source)) if isinstance(source, str | Path) else source.as_directory()
        with held as folder:
            plain = checkpoint.read(Path(folder))
            checkpoint.check_same(plain["identity"], self._identity())
            resume = checkpoint.read_resume(Path(folder), plain)
            self.trace.load(Path(folder) / TRACE_FILE, plain["step"])  # ahead of the weights, for it may be damaged
            self._load_plain({**plain, **resume})

    def _inherit(self, folder: Path) -> None:
        """Take an ancestor's weights if every one fits; a half-inherited network is worse than a fresh one.

        Its learning rate came along with them, so that its order of magnitude need not be searched for.
        """
        theirs = checkpoint.read(folder)
        if checkpoint.fits(theirs["model"], self.problem.model.state_dict()):
            self.problem.model.load_state_dict(theirs["model"])
            self._guard.inherit(theirs["guard"])
            self._course.inherited = theirs["inherited"] + theirs["step"] - theirs["began"]
            self._course.averages.restart()
            self._adaptation.inherit()

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must have in common with the session that goes on from it."""
        return {
            "hypergradients": self.settings.hypergradients,
            "hyperparameters": checkpoint.shapes(self.values),
            "total_steps": self.total_steps,
            "optimizer": type(self.problem.optimizer).__name__,
            "lr_scheduler": self._schedule.kind,
        }

    def _as_plain(self) -> dict[str, Any]:
        """The weights, their average, and all that is small."""
        return {
            "identity": self._identity(),
            "step": self.step_count,
            "began": self._course.began,
            "inherited": self._course.inherited,
            "starts": self.problem.start_values(),
            "values": dict(self.values),
            "model": self.problem.model.state_dict(),
            "averaged": self._averaged_as_plain(),
            "schedule": encoded(self._schedule.as_plain()),
            "randomness": Randomness.capture().as_plain(),
            "stream": self._stream.as_plain(),
            "cursor": self.validation.cursor,
            "adaptation": self._adaptation.as_plain(),
            "guard": self._guard.as_plain(),
            "lowest": self._course.lowest,
            "train_losses": list(self._course.train_losses),
            "curve": list(self._curve),
            "metrics": dict(self._metrics),
            "cost": self.cost.as_plain(),
            "notices": self.notices.as_plain(),
        }

    def _averaged_as_plain(self) -> dict[str, Any] | None:
        """The averaged weights by the model's names: the user's own average, else the session's; or none."""
        if self.problem.averaged is not None:
            state = self.problem.averaged.state_dict()
            return {n.removeprefix(AVERAGED): v for n, v in state.items() if n.startswith(AVERAGED)}
        return self._course.averages.state_dict() if self._own_average_is_told else None

    @property
    def _own_average_is_told(self) -> bool:
        """Whether the averaged weights that checkpoints tell are the session's own."""
        return self.settings.averaging and self.problem.averaged is None

    def _resume_as_plain(self) -> dict[str, Any]:
        """What is as large as the weights, or several times as large, and only an exact resume needs."""
        theirs = self.problem.averaged
        return {
            "transient": transient_buffers(self.problem.model),
            "optimizer": encoded(self.problem.optimizer.state_dict()),
            "scaler": None if self.problem.scaler is None else self.problem.scaler.state_dict(),
            "averages": self._course.averages.as_plain(beside=self._own_average_is_told),
            "own_average": None if theirs is None else theirs.state_dict(),
            "own_transient": {} if theirs is None else transient_buffers(theirs),
            "snapshots": self._adaptation.open_as_plain(),
            "points": self._guard.points_as_plain(self.step_count),
        }

    def _load_plain(self, plain: dict[str, Any]) -> None:
        device, course = self.problem.parameters[0].device, self._course
        course.step_count, course.values = plain["step"], plain["values"]
        course.began, course.inherited = plain["began"], plain["inherited"]
        self.problem.model.load_state_dict(plain["model"])
        set_transient_buffers(self.problem.model, plain["transient"])
        self.problem.optimizer.load_state_dict(decoded(plain["optimizer"]))
        if self.problem.scaler is not None and plain["scaler"] is not None:
            self.problem.scaler.load_state_dict(plain["scaler"])
        if self.problem.averaged is not None and plain["own_average"] is not None:
            self.problem.averaged.load_state_dict(plain["own_average"])
            set_transient_buffers(self.problem.averaged, plain["own_transient"])
        course.averages.load_plain(plain["averages"], plain["averaged"])
        self._schedule.load_plain(decoded(plain["schedule"]))
        self._stream.load_plain(plain["stream"])
        self.validation.cursor = plain["cursor"]
        self._adaptation.load_open(plain["snapshots"])
        self._adaptation.load_plain(plain["adaptation"])
        self._guard.load_plain(plain["guard"], plain["points"], self.problem)
        course.train_losses = [loss.to(device) for loss in plain["train_losses"]]
        course.lowest = plain["lowest"]
        self._curve = plain["curve"]
        self._metrics, self._between = plain["metrics"], {}
        self.cost.load_plain(plain["cost"])
        self.notices.load_plain(plain["notices"])
        self.problem.reads |= set(self.values)
        Randomness.from_plain(plain["randomness"]).restore()
        self._take_changed(plain["starts"])

    def _take_changed(self, starts: Values) -> None:
        """Let what a scheduler such as PBT has changed since the checkpoint count, and not what was adapted there."""
        changed = {n: v for n, v in self.problem.start_values().items() if not torch.equal(v, starts[n].to(v))}
        if changed:
            self._course.set_values({**self.values, **changed})
            told = ", ".join(f"{name} = {value.tolist()}" for name, value in changed.items())
            logger.info("Goes on with what its configuration says now: %s.", told)


def _mean(losses: Sequence[Tensor]) -> float:
    return float(torch.stack(list(losses)).double().mean())
