"""The inner and the outer problem: a model, its optimizer, two losses, and the hyperparameters between them."""

import copy
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.batch import owned
from ray_glocal.hypergradient.binding import bound
from ray_glocal.hypergradient.clipping import Clipping
from ray_glocal.hypergradient.hooks import without_hooks
from ray_glocal.hypergradient.hyperparameter import Hyperparameter, HyperValues
from ray_glocal.hypergradient.kernels import differentiable_in_eval, twice_differentiable
from ray_glocal.hypergradient.line import Line
from ray_glocal.hypergradient.losses import Differentiations, check_loss, own_gradients
from ray_glocal.hypergradient.preservation import OptimizerState, evaluating
from ray_glocal.hypergradient.randomness import Randomness
from ray_glocal.hypergradient.ranks import Ranks
from ray_glocal.hypergradient.rates import PROPORTIONAL, WHOLE, Proportion, proportions
from ray_glocal.hypergradient.rules import rule_for
from ray_glocal.hypergradient.state import InnerState, Snapshot, Values, copied, write
from ray_glocal.hypergradient.statistics import Exploration, read_from, running, tracked
from ray_glocal.hypergradient.surroundings import Surroundings
from ray_glocal.hypergradient.trained import check_trained, named, trained

Loss = Callable[..., Tensor]

# Key of a parameter group that holds the group's adapted rate, which its `lr` is a multiple of; `initial_lr`, which
# schedulers own, stays where it was when the rate moves on.
ADAPTED_LR = "adapted_lr"


@dataclass(frozen=True)
class OuterGradient:
    """Validation loss with its derivatives in parameters, running statistics and, directly, hyperparameters [q]."""

    loss: Tensor
    parameters: tuple[Tensor, ...]
    statistics: tuple[Tensor, ...]
    direct: Tensor


class Problem:
    """A bilevel problem made of plain torch objects.

    Args:
        model: Module whose parameters are trained.
        optimizer: A torch optimizer that has an update rule (`ray_glocal.hypergradient.rules`).
        train_loss: `(model, batch[, hyper]) -> scalar tensor`; the inner objective.
        val_loss: The same for the outer objective; evaluated with the model in eval mode.
        hyperparameters: What the outer problem adapts. A name that is an option of the optimizer sets that option;
            any other name is handed to those losses that take a third argument.
        clipping: How gradients are clipped before the optimizer sees them.
        accumulate: Micro-batches of an inner step. Beyond one, a batch is a sequence of so many, and the training loss
            of the step is the mean of theirs.
        scaler: Scales losses whose gradients would underflow in half precision; steps that it leaves out are no steps.
        averaged: Weights that are averaged over training beside the model's, updated after each step.
        constants: Names, or patterns of them, of tensors that training changes and derivatives may take for constants.

    A model wrapped in `DistributedDataParallel` trains on all ranks together, and so is differentiated: the losses are
    the means of the ranks' own.

    Derivatives pass through parameters, the optimizer's buffers and the running statistics of normalisations. All else
    that a step may change, buffers and what hangs on the model and the losses, is put back where a step is run again.

    Raises:
        ArgumentError: An unsupported optimizer, one that trains nothing, another model or not all of it, parameters
            or gradients of unsupported kinds, no or unknown hyperparameters, names or options twice, groups out of
            range, or a learning rate or momentum of zero.
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
        self.model = model
        self.ranks = Ranks(model)
        self.clipping, self.accumulate, self.averaged = clipping, accumulate, averaged
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.statistics = tracked(model)
        self._buffers = {id(buffer): buffer for buffer in model.buffers()}  # held, or their ids would name others
        self.constants = tuple(constants)
        self.optimizer = optimizer
        self.rule = rule_for(optimizer)
        self.train_loss, self.train_reads = train_loss, _takes_hyper(train_loss)
        self.val_loss, self._val_reads = val_loss, _takes_hyper(val_loss)
        self.hyperparameters = tuple(hyperparameters)
        read = self.train_reads or self._val_reads
        self.bindings = bound(self.hyperparameters, optimizer, self.rule, read=read)
        self._line = Line(self.bindings)
        self.parameters, self.group_of = trained(optimizer)
        ends = np.cumsum([hyper.size for hyper in self.hyperparameters]).tolist()
        self.places = {h.name: slice(end - h.size, end) for h, end in zip(self.hyperparameters, ends, strict=True)}
        self._read_by_losses = [b.hyperparameter.name for b in self.bindings if b.field is None]
        self._val_needs_graph: bool | None = None  # until the validation loss is first evaluated
        self._val_differentiates: bool | None = None  # until it is first differentiated
        self._peaks: dict[int, float] = {}  # rates that groups are given by a scheduler which owns them
        self._proportions: dict[str, dict[int, Proportion]] | None = None  # until options are first written
        self.reads: set[str] = set()  # loss hyperparameters that a loss has read so far
        self.substitutes = True  # whether kernels of the model's are replaced inside windows, as far as was seen
        self.judged: dict[frozenset[str], str] = {}  # what was found of sets of tensors that training changes
        self.symmetric = True  # whether the gradient's derivative is its own transpose, as far as was seen
        self._held: tuple[Values, dict[str, Tensor]] | None = None
        self._sent: dict[tuple[str, torch.dtype], tuple[weakref.ref[Tensor], int, Tensor]] = {}
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
        found, groups = trained(self.optimizer)
        if len(found) == len(self.parameters) and all(a is b for a, b in zip(found, self.parameters, strict=True)):
            return False
        check_trained(self.model, self.optimizer)
        self.parameters, self.group_of = found, groups
        self.surroundings = self._surroundings()
        return True

    def explore(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """A plain step's gradients, as `differentiate` fills them in, with an eye on what the step depends on."""
        before = self.surroundings.marks()
        with Exploration(self.statistics) as mode:
            loss = self.differentiate(batch, leaves)
        followed = [pair for place, pair in enumerate(self.statistics) if place not in mode.read]
        found = {id(pair.mean): pair for pair in mode.unknown if id(pair.mean) in self._buffers}
        self.statistics = [*followed, *found.values()]
        self.surroundings = self._surroundings()  # a first step may have made some of them
        self.surroundings.moved(before)
        return loss

    def _surroundings(self) -> Surroundings:
        apart = [*self.parameters, *(t for pair in self.statistics for t in (pair.mean, pair.variance))]
        losses = {"train_loss": self.train_loss, "val_loss": self.val_loss}
        return Surroundings({"model": self.model, **losses}, apart)

    # ---- values ----

    @property
    def size(self) -> int:
        """Number q of hyperparameter entries."""
        return sum(hyper.size for hyper in self.hyperparameters)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each of the q entries."""
        return tuple(label for hyper in self.hyperparameters for label in hyper.labels)

    def start_values(self) -> Values:
        """The start value of every hyperparameter."""
        return {hyper.name: hyper.value for hyper in self.hyperparameters}

    def to_line(self, values: Values) -> Tensor:
        """Coordinates of `values`, shape [q]."""
        return self._line.of(values)

    def to_values(self, line: Tensor, *, clip: bool = True) -> Values:
        """Values at coordinates `line` [q], by default clipped to their bounds."""
        return self._line.values(line, clip=clip)

    def pull_back(self, values: Values, derivative: Tensor) -> Tensor:
        """Derivatives on the line from derivatives in the values, both [..., q]."""
        return self._line.pull_back(values, derivative)

    def write_options(self, old: Values | None, new: Values) -> None:
        """Set the optimizer's options to `new`.

        The learning rate is multiplied by new / old, so that the factor of a schedule stays in it. Groups whose rates
        or weight decays differed from each other when this was first called keep their ratios.

        Args:
            old: Values that the options stand at; `None` where this problem wrote them last or never did, in which
                case a scheduler's `initial_lr`, if there is one, or else `lr` itself, is the rate so far.
            new: Values to set.

        Raises:
            ArgumentError: Groups differ, and their ratios to the one value are unknown; see `proportions`.
        """
        if self._proportions is None:
            self._proportions = self._found_proportions(old or self.start_values())
        for binding in self.bindings:
            name, field = binding.hyperparameter.name, binding.field
            for index in binding.groups:
                group, proportion = self.optimizer.param_groups[index], self.proportion(name, index)
                assert field is not None
                value = proportion.at(float(new[name]))
                if field == "lr":
                    before = proportion.at(float(old[name])) if old else self._base_lr(index)
                    group[ADAPTED_LR] = value
                    value = _rescaled(group["lr"], before, value)
                self.rule.write(group, field, value)

    def proportion(self, name: str, group: int) -> Proportion:
        """How an option of a parameter group follows the hyperparameter that sets it."""
        return WHOLE if self._proportions is None else self._proportions[name][group]

    def _found_proportions(self, start: Values) -> dict[str, dict[int, Proportion]]:
        found = {}
        for binding in self.bindings:
            name, field = binding.hyperparameter.name, binding.field
            if field is not None:
                options = {index: self._own_option(field, index) for index in binding.groups}
                default = float(self.rule.options(self.optimizer.defaults)[field])
                found[name] = proportions(name, field, float(start[name]), options, default)
        return found

    def levelled(self) -> dict[str, tuple[float, ...]]:
        """Options that differ between groups and have no proportion, by the hyperparameter that sets them all alike."""
        found = {}
        for binding in self.bindings:
            if binding.field is not None and binding.field not in PROPORTIONAL:
                own = tuple(self._own_option(binding.field, index) for index in binding.groups)
                if len(set(own)) > 1:
                    found[binding.hyperparameter.name] = own
        return found

    def _own_option(self, field: str, index: int) -> float:
        """An option that a parameter group has, its learning rate ahead of any schedule."""
        if field == "lr":
            return self._base_lr(index)
        return float(self.rule.options(self.optimizer.param_groups[index])[field])

    def base_rates(self) -> tuple[float, ...]:
        """Learning rate of each parameter group before any schedule's factor."""
        return tuple(self._base_lr(index) for index in range(len(self.optimizer.param_groups)))

    def own_rates(self, peaks: Mapping[int, float]) -> None:
        """Take note of the rates of groups whose scheduler is built with them and overwrites the optimizer's own.

        Args:
            peaks: The largest rate that it was built with, by index of the group.
        """
        self._peaks = dict(peaks)

    def _base_lr(self, index: int) -> float:
        group = self.optimizer.param_groups[index]
        return float(group[ADAPTED_LR] if ADAPTED_LR in group else self._peaks.get(index, _initial_lr(group)))

    def set_rates(self, bases: Sequence[float], factor: float | Sequence[float]) -> None:
        """Set each group's learning rate to a schedule's factor, or to its own of several, times its base rate.

        Raises:
            ArgumentError: There are several factors, but not one for each group.
        """
        each = list(factor) if isinstance(factor, Sequence) else [factor] * len(bases)
        if len(each) != len(bases):
            raise ArgumentError("factors", f"be one number a step, or one for each of {len(bases)} groups", each)
        for group, base, own in zip(self.optimizer.param_groups, bases, each, strict=True):
            self.rule.write(group, "lr", base * own)

    # ---- losses ----

    def leaves(self, values: Values, *, differentiable: bool) -> dict[str, Tensor]:
        """Fresh tensors of the values that losses read, in the model's precision and on its device."""
        dtype = self.parameters[0].dtype
        return {
            name: self._near(name, values, dtype).clone().requires_grad_(differentiable)
            for name in self._read_by_losses
        }

    def option_leaves(self, values: Values) -> dict[str, Tensor]:
        """Fresh tensors of the values that are options of the optimizer, in double precision, each a number."""
        names = [binding.hyperparameter.name for binding in self.bindings if binding.field is not None]
        return {name: self._near(name, values, torch.float64).clone().reshape(()) for name in names}

    def _near(self, name: str, values: Values, dtype: torch.dtype) -> Tensor:
        """A value where the parameters are: sent there once, for each copy from the host waits for the device."""
        value, sent = values[name], self._sent.get((name, dtype))
        if sent is None or sent[0]() is not value or sent[1] != value._version:
            near = value.detach().to(self.parameters[0].device, dtype, copy=True)
            sent = self._sent[name, dtype] = weakref.ref(value), value._version, near
        return sent[2]

    def stacked(self, derivatives: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Derivatives by name of the hyperparameter, zero where there is none, as rows [n, q] of float64."""
        device = self.parameters[0].device
        nothing = torch.zeros(self.size, device=device).split([hyper.size for hyper in self.hyperparameters])
        rows = []
        for row in derivatives:
            found = [
                row[h.name].detach().reshape(-1).to(device) if h.name in row else none
                for h, none in zip(self.hyperparameters, nothing, strict=True)
            ]
            rows.append(torch.cat(found))
        return torch.stack(rows).double()

    def units(self, leaves: Mapping[str, Tensor]) -> list[Tensor]:
        """The q unit vectors, as tangents [q, *shape] of some hyperparameters."""
        made = []
        for name, leaf in leaves.items():
            unit = torch.zeros(self.size, leaf.numel(), dtype=leaf.dtype, device=leaf.device)
            unit[self.places[name]] = torch.eye(leaf.numel(), dtype=leaf.dtype, device=leaf.device)
            made.append(unit.reshape(self.size, *leaf.shape))
        return made

    def train(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Training loss on a batch."""
        return self._evaluate(self.train_loss, self.train_reads, batch, leaves)

    def validate(self, batch: Any, leaves: Mapping[str, Tensor], model: nn.Module | None = None) -> Tensor:
        """Validation loss on a batch, of the model or of another one."""
        return self._evaluate(self.val_loss, self._val_reads, batch, leaves, model)

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

    def _constants(self, values: Values) -> dict[str, Tensor]:
        """The leaves of plain steps, made once for each set of values: with dozens they take longer than the step."""
        if self._held is None or self._held[0] is not values:
            self._held = values, self.leaves(values, differentiable=False)
        return self._held[1]

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
        for parameter, group, state in zip(self.parameters, self.group_of, self._optimizer_states(), strict=True):
            options = self.rule.options(self.optimizer.param_groups[group])
            held, step = self.rule.read(parameter, state, options)
            slots.append(held)
            steps.append(step)
        live = self.parameters, tuple(slots), tuple(steps), tuple(self.model.buffers())
        around = self.surroundings.capture() if again else None
        return InnerState(*live, Randomness.capture(), around).moved(keep)

    def _optimizer_states(self) -> list[Mapping[str, Any]]:
        """What the optimizer holds of each parameter; counts of steps that lie on a device are fetched together."""
        states: list[Mapping[str, Any]] = [self.optimizer.state.get(p, {}) for p in self.parameters]
        away = [i for i, s in enumerate(states) if isinstance(s.get("step"), Tensor) and s["step"].device.type != "cpu"]
        if away:
            device = self.parameters[0].device
            counts = torch.stack([states[i]["step"].to(device) for i in away]).tolist()
            for i, count in zip(away, counts, strict=True):
                states[i] = {**states[i], "step": count}
        return states

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
        self._write_buffers(state.buffers)
        state.randomness.restore()

    def _write_buffers(self, states: Sequence[Tensor]) -> None:
        """Put buffers back."""
        pairs = list(zip(self.model.buffers(), states, strict=True))
        own = [pair for pair in pairs if id(pair[0]) in self._buffers]
        write([buffer for buffer, _ in own], [state for _, state in own])
        if len(own) < len(pairs):
            self._replace_buffers({id(buffer): state for buffer, state in pairs if id(buffer) not in self._buffers})

    def _replace_buffers(self, states: Mapping[int, Tensor]) -> None:
        """Let others stand in the places of buffers that a forward pass has made: a graph may lead to those."""
        for held in (module._buffers for module in self.model.modules()):
            for name, buffer in list(held.items()):
                state = states.get(id(buffer))
                if buffer is not None and state is not None and not torch.equal(buffer, state.to(buffer)):
                    held[name] = state.to(buffer, copy=True)

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

    def mean_val_loss(self, batches: Iterable[Any], values: Values, *, averaged: bool = False) -> float:
        """Mean validation loss over `batches`, and over the ranks', in eval mode; of the averaged weights on demand.

        One batch is in memory at a time.
        """
        leaves, model = self.leaves(values, differentiable=False), self.model
        if averaged and self.averaged is not None:
            model = self.averaged
        with self.undisturbed(), evaluating(model):
            losses = [self._measured(owned(batch), leaves, model) for batch in batches]
        return float(self.ranks.mean([torch.stack(_some(losses)).double().mean()])[0])

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put back what a validation may change and training depends on, parameters and global generators apart."""
        around, kept = self.surroundings.capture(), copied(list(self.model.buffers()))
        try:
            yield
        finally:
            around.restore()
            self._write_buffers(kept)

    @contextmanager
    def unnoticed(self) -> Iterator[None]:
        """Training losses in it are evaluated with their graphs, and nobody else notices; they may differentiate."""
        own = own_gradients(list(self.model.parameters()))
        with self.undisturbed(), own, torch.enable_grad(), self.ranks.apart():
            yield

    def _measured(self, batch: Any, leaves: Mapping[str, Tensor], model: nn.Module) -> Tensor:
        """Validation loss on a batch, detached, without a graph where it needs none; the first call finds that out."""
        if self._val_needs_graph is None:
            start = Randomness.capture()
            try:
                with torch.no_grad():
                    loss = self.validate(batch, leaves, model).detach().reshape(())
            except RuntimeError as error:
                if "require grad" not in str(error):
                    raise
                self._val_needs_graph = True
                start.restore()
            else:
                self._val_needs_graph = False
                return loss
        if not self._val_needs_graph:
            with torch.no_grad():
                return self.validate(batch, leaves, model).detach().reshape(())
        with torch.enable_grad(), own_gradients(list(model.parameters())):
            return self.validate(batch, leaves, model).detach().reshape(())

    def outer_gradient(self, batches: Sequence[Any], values: Values) -> OuterGradient:
        """Mean validation loss over `batches`, and over the ranks', and its derivatives, the model in eval mode."""
        leaves = self.leaves(values, differentiable=True) if self._val_reads else {}
        statistics = [statistic.requires_grad_() for statistic in running(self.statistics)]
        wanted = [*self.parameters, *statistics, *leaves.values()]
        losses, total = [], [torch.zeros_like(leaf) for leaf in wanted]
        reading = read_from(self.statistics, statistics)
        with differentiable_in_eval(self.model), reading, evaluating(self.model), without_hooks(self.parameters):
            for batch in _some(batches):  # one graph at a time
                with self.ranks.apart():
                    loss = self._differentiable(owned(batch), leaves).reshape(())
                check_graph("val_loss", loss)
                found = torch.autograd.grad(loss, wanted, allow_unused=True)
                total = [t if f is None else t.add_(f) for t, f in zip(total, found, strict=True)]
                losses.append(loss.detach())
        loss, *total = self.ranks.mean([torch.stack(losses).mean(), *(t.div_(len(losses)) for t in total)])
        first, last = len(self.parameters), len(wanted) - len(leaves)
        direct = self.stacked([dict(zip(leaves, total[last:], strict=True))])[0]
        return OuterGradient(loss, tuple(total[:first]), tuple(total[first:last]), direct)

    def _differentiable(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Validation loss with a graph, a second time where it takes derivatives itself; the first call finds out."""
        if self._val_differentiates is None:
            start = Randomness.capture()
            with own_gradients(list(self.model.parameters())), Differentiations() as mode:
                loss = self.validate(batch, leaves)
            self._val_differentiates = mode.seen
            if not mode.seen:
                return loss
            start.restore()
        if not self._val_differentiates:
            return self.validate(batch, leaves)
        held = own_gradients(list(self.model.parameters()))
        with held, twice_differentiable(self.model), Differentiations():
            return self.validate(batch, leaves)


def _some(batches: Sequence[Any]) -> Sequence[Any]:
    if len(batches) == 0:
        raise ArgumentError("val_batches", "hold at least one batch", batches, "The outer loss needs data.")
    return batches


def _takes_hyper(loss: Loss) -> bool:
    """Whether a loss takes a third positional argument."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(loss).parameters.values()
    return sum(p.kind in kinds for p in parameters) >= 3


def check_graph(name: str, loss: Tensor) -> None:
    """Complain about a loss that does not depend on the parameters.

    Raises:
        ArgumentError: `loss` has no graph.
    """
    if not loss.requires_grad:
        remedy = "Compute it with gradients: without `no_grad`, `detach`, `item` or a non-differentiable metric."
        raise ArgumentError(name, "depend differentiably on the parameters that the optimizer trains", loss, remedy)


def _initial_lr(group: Mapping[str, Any]) -> float:
    """Learning rate that a group was given."""
    return float(group.get("initial_lr", group["lr"]))


def _rescaled(lr: Any, before: float, value: float) -> float:
    """A group's `lr` when the rate that it is a multiple of goes from `before` to `value`."""
    if before == 0:  # nothing was learnt so far, and no factor can be read off
        return value
    return float(lr) * (value / before) if value != before else float(lr)
