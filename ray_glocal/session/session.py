"""`GlocalSession`: the training loop's partner."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from pyarrow import ArrowException
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ray_glocal.errors import ArgumentError, CheckpointError
from ray_glocal.hypergradient import Clipping, Hyperparameter, Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.losses import Loss
from ray_glocal.hypergradient.state.preservation import evaluating
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.session.adaptation import Adaptation
from ray_glocal.session.adapted import Adapted, CheckpointFolder
from ray_glocal.session.arguments import adapted_of, whole_steps
from ray_glocal.session.averaged import AveragedWeights
from ray_glocal.session.bounds import say_bounds
from ray_glocal.session.checkpointing import Checkpointing
from ray_glocal.session.course import Course
from ray_glocal.session.effect import say_unreached
from ray_glocal.session.first_order.adaptation import FirstOrder
from ray_glocal.session.loop import Loop
from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.cost import PROBE, REPORT, Cost
from ray_glocal.session.pacing.meter import Meter
from ray_glocal.session.reports import Reports
from ray_glocal.session.schedule import Schedule
from ray_glocal.session.scope import check_read, say_foreseen, say_levelled, say_unadapted
from ray_glocal.session.settings import Settings
from ray_glocal.session.state import checkpoint
from ray_glocal.session.state.stream import Stream
from ray_glocal.session.state.trace import Trace
from ray_glocal.session.tuning import CHECK_EVERY
from ray_glocal.session.validation import ValidationBatches
from ray_glocal.session.windows.adaptation import ByWindows

Answer = TypeVar("Answer")


class GlocalSession:
    """Adapts continuous hyperparameters while a plain torch loop trains.

    Every inner step is the user's own: zero_grad, loss, backward, optimizer step. By default a session first searches
    for the learning rate's order of magnitude, and then moves all hyperparameters but decay rates (momentum, betas) a
    little and often, by first-order hypergradients at averaged weights. By `Settings(hypergradients="windows")` it
    moves decay rates, too: it differentiates some consecutive steps, a window, and forecasts their local hypergradients
    to the end of training. Between two outer steps the parameters are those of the loop without a session, bit for bit,
    unless it goes back to earlier ones: as the search ends, on a retreat, and where training begins anew.

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
        ArgumentError: Bad arguments; see `Problem`, `ValidationBatches`, `Schedule`, `Settings` and `Hyperparameter`.
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
        self.validation = ValidationBatches(val_batches, self.settings.batches_per_window)
        self.total_steps = total_steps
        self.trace = Trace(trace)
        self.cost = Cost()
        self._schedule = Schedule(lr_scheduler, self.problem, self.notices)
        self._meter = Meter(self.cost, self.problem.parameters[0].device, ranks=self.problem.ranks)
        parts = self.problem, self._schedule, self.validation, self._meter, self.trace, self.notices
        self._course = Course(*parts, total_steps, self.settings)
        self._guard = self._course.guard
        say_levelled(self.problem, self.notices, self.values)
        self._course.set_values(None)
        kind = ByWindows if self.settings.hypergradients == "windows" else FirstOrder
        self._adaptation: Adaptation = kind(self._course)
        self._stream = Stream()
        self._loop = Loop(model, optimizer)
        self._averaged = AveragedWeights(self._course)
        self._reports = Reports(self._course, self._adaptation, self._averaged)
        self._checkpointing = Checkpointing(self._course, self._adaptation, self._stream, self._reports, self._averaged)
        self._discard: Callable[[], object] | None = None  # removes the last temporary folder

    @property
    def step_count(self) -> int:
        """Inner steps taken."""
        return self._course.step_count

    @property
    def values(self) -> Values:
        """The hyperparameters as they are."""
        return self._course.values

    @property
    def report_period(self) -> int:
        """Inner steps between reports; by default it is known once the first step has shown how large batches are."""
        return self._course.report_period

    # ---- the loop ----

    @property
    def done(self) -> bool:
        """Whether training has taken all its steps."""
        return self._course.done

    @property
    def at_report(self) -> bool:
        """Whether the step just taken ends a reporting period, or the training."""
        return self._reports.due

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
        weights = self._averaged.applied() if self._averaged.reported else nullcontext()
        try:
            with self.problem.undisturbed(), weights, evaluating(model), torch.no_grad():
                return measure(model)
        finally:
            randomness.restore()

    def step(self, batch: Any) -> Tensor:
        """Take one inner step and, where a hypergradient is due after it, adapt.

        Args:
            batch: What both losses understand; the training loss may write into it.

        Returns:
            The training loss before the step, detached.

        Raises:
            ArgumentError: All steps are taken, no loss has read a hyperparameter that no optimizer option bears, the
                scheduler sets an option that is adapted, or it or the optimizer was stepped beside the session.
        """
        if self.done:
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
        few = self.validation.few(self.validation.cursor)
        self._course.compare_batches(batch, few)
        self.trace.begin()
        say_foreseen(self._course, self._adaptation)
        self._course.keep(self._course.loss())
        self._meter.complete(REPORT)
        self._meter.start(PROBE)
        self.cost.extra_steps += say_unreached(self.problem, self.notices, batch, few, self.values)
        self._adaptation.begin(batch)
        self._meter.complete(PROBE)
        self._meter.aside()

    def _after_step(self) -> None:
        """What comes after a step; after most of them nothing, which must not take long."""
        course = self._course
        if course.step_count == 1:
            check_read(self.problem)
        if course.step_count % CHECK_EVERY == 0:
            losses = self.problem.ranks.mean(course.train_losses[-CHECK_EVERY:])
            self._adaptation.retreat(self._guard.training_jumped(losses), to_first=False)
        self._adaptation.respond()
        over = course.done
        if over:
            say_unadapted(course, self._adaptation)
        if self._reports.due:
            self._adaptation.review(self._reports.take())
        if over:
            say_bounds(self.problem, self.notices, self.values)

    # ---- reports ----

    def metrics(self) -> dict[str, Any]:
        """What training has come to now, with the cost up to here; flat, ready for `tune.report`.

        At a report (`at_report`) it is measured already; at any other step the validation loss is taken when this is
        asked for, at a report's cost, and training goes on as if it had not been. Of several ranks, which would have to
        ask together, the last report is told.

        Keys: `val_loss`, `train_loss` (mean since the last report), `step` (as `timesteps_total`, too), `total_steps`,
        `forecast/final_loss` and `forecast/deviation` (as of the last report; NaN while too little is known),
        `potential`, `rollbacks`, `windows` (hypergradients so far), `searching` (1 while the learning rate's order of
        magnitude is searched for), `lineage/own` (steps that led to the present weights since training last began anew)
        and `lineage/steps` (those and the steps of inherited weights), `hyper/<name>`, `elasticity/<name>`, and
        `cost/steps` (in inner steps), `cost/seconds`, `cost/share` (of the seconds that went into anything but plain
        training) and `cost/overhead` (those seconds over plain training's).
        `warnings` is how many the session has given so far, and `warning` their texts, a line each.
        """
        return {**self._reports.present(), **self.cost.metrics(), **self.notices.metrics()}

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Let the model have the averaged weights, and its own again afterwards: to evaluate it, or to keep them.

        They are those of the `averaged=` that the session was given, or its own.
        """
        return self._averaged.applied()

    # ---- checkpoints ----

    def save(self, folder: str | Path) -> None:
        """Write all that is needed to go on exactly: also in the middle of a window, of an epoch, of a schedule.

        Raises:
            ArgumentError: Inside a window whose batches are not made of tensors, numbers and text; or a state, of the
                scheduler say, holds what could not be restored. Nothing is written then.
        """
        self._meter.stop()
        self._checkpointing.save(Path(folder))

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

    def restore(self, source: str | Path | CheckpointFolder | None) -> None:
        """Go on from a checkpoint; on a fresh start (`None`) take the ancestor's weights and tensors, if there are any.

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
                        self._checkpointing.inherit(folder)
                except (CheckpointError, OSError, ArrowException) as error:  # `as_directory` may reach over a network
                    text = f"The ancestor's checkpoint cannot be read: starting afresh. {error}"
                    self.notices.say("ancestor", text)
            return
        held = nullcontext(str(source)) if isinstance(source, str | Path) else source.as_directory()
        with held as folder:
            self._checkpointing.restore(Path(folder))
