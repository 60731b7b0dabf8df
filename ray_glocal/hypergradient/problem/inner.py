"""The inner problem: what trains, and how a step of it is taken, recorded, and put back."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Hyperparameter, HyperValues, Values
from ray_glocal.hypergradient.hyperparameters.outer_variables import ADAPTED_LR, OuterVariables
from ray_glocal.hypergradient.problem.clipping import Clipping
from ray_glocal.hypergradient.problem.losses import Loss, check_graph, check_loss, own_gradients, takes_hyper
from ray_glocal.hypergradient.problem.ranks import Ranks
from ray_glocal.hypergradient.problem.statistics import Exploration, tracked
from ray_glocal.hypergradient.problem.trained import check_trained, named, trained, training_now
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.buffers import Buffers
from ray_glocal.hypergradient.state.copies import copied, write
from ray_glocal.hypergradient.state.preservation import OptimizerState, held_of
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.state.snapshot import InnerState, Snapshot
from ray_glocal.hypergradient.state.surroundings import Surroundings


class InnerProblem(OuterVariables):
    """A model that is trained by plain steps, any of which can be run again.

    The arguments are those of `Problem`. Of the validation loss nothing is evaluated here: a step is put back with what
    hangs on it, too, and it may be the one that reads a hyperparameter.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train_loss: Loss,
        val_loss: Loss,
        hyperparameters: Sequence[Hyperparameter],
        *,
        clipping: Clipping | None = None,
        accumulate: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        averaged: AveragedModel | None = None,
        constants: Sequence[str] = (),
    ) -> None:
        if accumulate < 1:
            raise ArgumentError("accumulate", "be at least 1", accumulate, "It counts micro-batches of a step.")
        check_loss("train_loss", train_loss)
        check_loss("val_loss", val_loss)
        self.train_loss, self.train_reads = train_loss, takes_hyper(train_loss)
        self.val_loss, self._val_reads = val_loss, takes_hyper(val_loss)
        self.model, self.ranks = model, Ranks(model)
        parameters, self.group_of = trained(optimizer)
        self._training = training_now(optimizer)
        super().__init__(hyperparameters, optimizer, parameters, read=self.train_reads or self._val_reads)
        self.clipping, self.accumulate, self.averaged = clipping, accumulate, averaged
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.statistics, self._buffers = tracked(model), Buffers(model)
        self.constants = tuple(constants)
        self.reads: set[str] = set()  # loss hyperparameters that a loss has read so far
        self.substitutes = True  # whether kernels of the model's are replaced inside windows, as far as was seen
        self.judged: dict[frozenset[str], str] = {}  # what was found of sets of tensors that training changes
        self.symmetric = True  # whether the gradient's derivative is its own transpose, as far as was seen
        check_trained(model, optimizer)
        self.surroundings = self._surroundings()
        for group in optimizer.param_groups:  # what an earlier problem wrote says nothing about this one
            group.pop(ADAPTED_LR, None)

    # ---- what a step depends on ----

    def name_of(self, parameter: Tensor) -> str:
        """How a parameter is spoken of."""
        return named(self.model, parameter)

    def follow(self) -> bool:
        """Take over which of the optimizer's parameters require gradients now; whether others did before.

        Raises:
            ArgumentError: See the class; the model may have changed in the meantime.
        """
        training = training_now(self.optimizer)
        if training == self._training:
            return False
        check_trained(self.model, self.optimizer)
        self._training, (self.parameters, self.group_of) = training, trained(self.optimizer)
        self.surroundings = self._surroundings()
        return True

    def explore(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """A plain step's gradients, as `differentiate` fills them in, with an eye on what the step depends on."""
        before = self.surroundings.marks()
        with Exploration(self.statistics) as mode:
            loss = self.differentiate(batch, leaves)
        followed = [pair for place, pair in enumerate(self.statistics) if place not in mode.read]
        found = {id(pair.mean): pair for pair in mode.unknown if pair.mean in self._buffers}
        self.statistics = [*followed, *found.values()]
        self.surroundings = self._surroundings()  # a first step may have made some of them
        self.surroundings.moved(before)
        return loss

    def _surroundings(self) -> Surroundings:
        apart = [*self.parameters, *(t for pair in self.statistics for t in (pair.mean, pair.variance))]
        losses = {"train_loss": self.train_loss, "val_loss": self.val_loss}
        return Surroundings({"model": self.model, **losses}, apart)

    # ---- the step ----

    def train(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Training loss on a batch."""
        return self._evaluate(self.train_loss, self.train_reads, batch, leaves)

    def _evaluate(
        self, loss: Loss, reads: bool, batch: Any, leaves: Mapping[str, Tensor], model: nn.Module | None = None
    ) -> Tensor:
        model = self.model if model is None else model
        if reads:
            hyper = HyperValues({name: leaves[name] for name in self._read_by_losses})
            value = loss(model, batch, hyper)
            self.reads |= hyper.read
        else:
            value = loss(model, batch)
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = tuple(value.shape) if isinstance(value, Tensor) else value
            name = "train_loss" if loss is self.train_loss else "val_loss"
            raise ArgumentError(name, "return a tensor of one entry", got, "Take the mean over the batch.")
        return value

    def parts(self, batch: Any) -> Sequence[Any]:
        """Micro-batches of a step's batch.

        Raises:
            ArgumentError: It is no sequence of as many as are to be accumulated.
        """
        if self.accumulate == 1:
            return (batch,)
        if not isinstance(batch, Sequence) or len(batch) != self.accumulate:
            got = len(batch) if isinstance(batch, Sequence) else type(batch).__name__
            remedy = "`session.batches(loader)` gathers them."
            raise ArgumentError("batch", f"be a sequence of {self.accumulate} micro-batches", got, remedy)
        return batch

    def advance(self, batch: Any, values: Values) -> Tensor:
        """One plain step of training, exactly as a loop without hypergradients takes it; the detached loss."""
        loss = self.differentiate(batch, self._constants(values) if self.train_reads else {})
        self.take_step()
        return loss

    def differentiate(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Fill the parameters' gradients with those of a step, unscaled and not yet clipped; the detached loss."""
        self.optimizer.zero_grad()
        if self.accumulate == 1:
            loss = self._accumulated(batch, leaves)
        else:
            *others, last = self.parts(batch)
            with self.ranks.apart():
                losses = [self._accumulated(part, leaves) for part in others]
            loss = torch.stack([*losses, self._accumulated(last, leaves)]).mean()
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        return loss

    def _accumulated(self, part: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Add a micro-batch's share to the parameters' gradients; its detached loss."""
        loss = self.train(part, leaves)
        check_graph("train_loss", loss)
        share = loss if self.accumulate == 1 else loss / self.accumulate
        (share if self.scaler is None else self.scaler.scale(share)).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def take_step(self) -> bool:
        """Let the optimizer step by the gradients that the parameters hold; whether it did."""
        if self.clipping is not None:
            self.clipping.clip([p for group in self.optimizer.param_groups for p in group["params"]])
        taken = True
        if self.scaler is None:
            self.optimizer.step()
        else:
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            taken = self.scaler.get_scale() >= scale  # it falls where gradients overflowed
        if self.averaged is not None and taken:
            self.averaged.update_parameters(self.model)
        return taken

    # ---- states ----

    def capture(self, keep: Callable[[Sequence[Tensor]], list[Tensor]] = copied, *, again: bool = True) -> InnerState:
        """A copy of everything the next inner step depends on.

        Args:
            keep: Copies tensors, to wherever copies are to lie.
            again: Whether the step may be run again: else its surroundings are left out.
        """
        slots, steps = [], []
        states = held_of(self.optimizer, self.parameters)
        for parameter, group, state in zip(self.parameters, self.group_of, states, strict=True):
            options = self.rule.options(self.optimizer.param_groups[group])
            held, step = self.rule.read(parameter, state, options)
            slots.append(held)
            steps.append(step)
        live = self.parameters, tuple(slots), tuple(steps), tuple(self.model.buffers())
        around = self.surroundings.capture() if again else None
        return InnerState(*live, Randomness.capture(), around).moved(keep)

    def snapshot(self, batch: Any, values: Values, state: InnerState | None) -> Snapshot:
        """Record the inner step that is about to be taken."""
        options = tuple(self.rule.options(group) for group in self.optimizer.param_groups)
        scale = 1.0 if self.scaler is None else self.scaler.get_scale()
        return Snapshot(state, owned(batch), options, values, scale=scale)

    @torch.no_grad()
    def place(self, state: InnerState, along: Sequence[Tensor] | None = None, step: Tensor | None = None) -> None:
        """Put parameters, module buffers and random generators to a recorded state; the optimizer stays untouched.

        Args:
            state: The state.
            along: A direction to go from its parameters.
            step: How far: what the direction is multiplied by, 0-d.
        """
        if along is None or step is None:
            write(self.parameters, state.parameters)
        else:
            for parameter, start, direction in zip(self.parameters, state.parameters, along, strict=True):
                torch.addcmul(start, direction, step.to(start), out=parameter)
        if state.surroundings is not None:
            state.surroundings.restore()
        self._buffers.write(state.buffers)
        state.randomness.restore()

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Come back to the present model, optimizer and random generators at the end, whatever was trained between."""
        optimizer, gradients = OptimizerState.of(self.optimizer), [p.grad for p in self.parameters]
        scaling = None if self.scaler is None else self.scaler.state_dict()
        averaged = None if self.averaged is None else copy.deepcopy(self.averaged.state_dict())
        with self.preserved():
            try:
                yield
            finally:
                optimizer.restore(self.optimizer)
                if self.scaler is not None and scaling is not None:
                    self.scaler.load_state_dict(scaling)
                if self.averaged is not None and averaged is not None:
                    self.averaged.load_state_dict(averaged)
                for parameter, gradient in zip(self.parameters, gradients, strict=True):
                    parameter.grad = gradient

    @contextmanager
    def preserved(self) -> Iterator[InnerState]:
        """Come back to the present parameters, module buffers and random generators at the end."""
        state = self.capture()
        try:
            yield state
        finally:
            self.place(state)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put back what a validation may change and training depends on, parameters and global generators apart."""
        around, kept = self.surroundings.capture(), copied(list(self.model.buffers()))
        try:
            yield
        finally:
            around.restore()
            self._buffers.write(kept)

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Training losses in it are evaluated with their graphs, and nobody else notices; they may differentiate."""
        own = own_gradients(list(self.model.parameters()))
        with self.undisturbed(), own, torch.enable_grad(), self.ranks.apart():
            yield
