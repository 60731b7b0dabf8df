"""The inner and the outer problem: a model, its optimizer, two losses, and the hyperparameters between them."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.hyperparameter import Hyperparameter, HyperValues
from ray_glocal.hypergradient.randomness import Randomness
from ray_glocal.hypergradient.rules import Slots, rule_for

Loss = Callable[..., Tensor]
Values = Mapping[str, Tensor]  # float64 on the CPU, by name of the hyperparameter


@dataclass(frozen=True)
class Binding:
    """Where a hyperparameter acts: an option of some parameter groups, or (`field` is None) the losses."""

    hyperparameter: Hyperparameter
    field: str | None
    groups: tuple[int, ...]


@dataclass(frozen=True)
class InnerState:
    """All that the next inner step depends on besides its batch and the options; every tensor is a copy."""

    parameters: tuple[Tensor, ...]
    slots: tuple[Slots, ...]
    steps: tuple[int, ...]
    buffers: tuple[Tensor, ...]
    randomness: Randomness


@dataclass(frozen=True)
class Snapshot:
    """One inner step, recorded before it was taken: where it started, on which batch, with which options."""

    state: InnerState
    batch: Any
    options: tuple[Mapping[str, Any], ...]
    values: Values


@dataclass(frozen=True)
class OuterGradient:
    """Validation loss with its derivatives in the parameters and, directly, in the hyperparameters [q]."""

    loss: Tensor
    parameters: tuple[Tensor, ...]
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

    Raises:
        ArgumentError: An unsupported optimizer, no or unknown hyperparameters, names twice, groups out of range, or
            a momentum of zero, for which torch keeps no buffer.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train_loss: Loss,
        val_loss: Loss,
        hyperparameters: Sequence[Hyperparameter],
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.rule = rule_for(optimizer)
        self.train_loss, self._train_reads = train_loss, _takes_hyper(train_loss)
        self.val_loss, self._val_reads = val_loss, _takes_hyper(val_loss)
        self.hyperparameters = tuple(hyperparameters)
        self.bindings = tuple(self._bind(hyper) for hyper in self.hyperparameters)
        self._check_names()
        owned = [(p, g) for g, group in enumerate(optimizer.param_groups) for p in group["params"] if p.requires_grad]
        self.parameters: tuple[Tensor, ...] = tuple(p for p, _ in owned)
        self.group_of: tuple[int, ...] = tuple(g for _, g in owned)
        self.reads: set[str] = set()  # loss hyperparameters that a loss has read so far

    # ---- binding names ----

    def _bind(self, hyper: Hyperparameter) -> Binding:
        groups = range(len(self.optimizer.param_groups))
        chosen = tuple(groups) if hyper.groups is None else hyper.groups
        field = self.rule.aliases.get(hyper.field_name, hyper.field_name)
        if field in self.rule.fields:
            self._check_option(hyper, field, chosen)
            return Binding(hyper, field, chosen)
        if hyper.field is None and hyper.groups is None and (self._train_reads or self._val_reads):
            return Binding(hyper, None, ())
        fields = ", ".join((*self.rule.fields, *self.rule.aliases))
        kind = type(self.optimizer).__name__
        remedy = "Correct the name, or give the losses a third argument, `hyper`, that reads it."
        raise ArgumentError(
            "hyper", f"name options of {kind} ({fields}) or values that a loss reads", hyper.name, remedy
        )

    def _check_option(self, hyper: Hyperparameter, field: str, groups: tuple[int, ...]) -> None:
        count = len(self.optimizer.param_groups)
        if not groups or any(not 0 <= g < count for g in groups):
            raise ArgumentError(
                "groups", f"be indices of the {count} parameter groups for {hyper.name!r}", hyper.groups
            )
        if hyper.value.numel() != 1:
            raise ArgumentError("start", f"be one number for the optimizer's {field!r}", tuple(hyper.value.shape))
        if field == "momentum" and float(hyper.value) == 0:
            remedy = "At zero torch keeps no momentum buffer, so nothing can be differentiated; start at 1e-3, say."
            raise ArgumentError("start", f"be above zero for hyperparameter {hyper.name!r}", 0.0, remedy)

    def _check_names(self) -> None:
        if not self.hyperparameters:
            remedy = "Name at least one; a run without any needs no session."
            raise ArgumentError("hyper", "hold at least one hyperparameter", self.hyperparameters, remedy)
        targets = [(b.field, g) for b in self.bindings if b.field for g in b.groups]
        targets += [(b.hyperparameter.name, -1) for b in self.bindings if b.field is None]
        twice = sorted({f"{name}" for name, group in targets if targets.count((name, group)) > 1})
        if twice:
            raise ArgumentError("hyper", "set each option of a parameter group once", twice)

    # ---- values ----

    @property
    def size(self) -> int:
        """Number q of hyperparameter entries."""
        return sum(hyper.size for hyper in self.hyperparameters)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each of the q entries."""
        return tuple(label for hyper in self.hyperparameters for label in _labels(hyper))

    def start_values(self) -> Values:
        """The start value of every hyperparameter."""
        return {hyper.name: hyper.value for hyper in self.hyperparameters}

    def to_line(self, values: Values) -> Tensor:
        """Coordinates of `values`, shape [q]."""
        return torch.cat([h.coordinate.to_line(values[h.name]).flatten() for h in self.hyperparameters])

    def to_values(self, line: Tensor, *, clip: bool = True) -> Values:
        """Values at coordinates `line` [q], by default clipped to their bounds."""
        pieces = line.split([hyper.size for hyper in self.hyperparameters])
        raw = [
            (h, h.coordinate.to_value(p.reshape(h.value.shape)))
            for h, p in zip(self.hyperparameters, pieces, strict=True)
        ]
        return {h.name: h.clip(value) if clip else value for h, value in raw}

    def pull_back(self, values: Values, derivative: Tensor) -> Tensor:
        """Derivatives on the line from derivatives in the values, both [..., q]."""
        pieces = derivative.split([hyper.size for hyper in self.hyperparameters], dim=-1)
        lead = derivative.shape[:-1]
        pulled = [
            h.coordinate.pull_back(values[h.name], piece.reshape((*lead, *h.value.shape))).reshape((*lead, h.size))
            for h, piece in zip(self.hyperparameters, pieces, strict=True)
        ]
        return torch.cat(pulled, dim=-1)

    def write_options(self, old: Values | None, new: Values) -> None:
        """Set the optimizer's options to `new`.

        The learning rate is multiplied by new / old, so that the factor of a schedule stays in it.
        """
        for binding in self.bindings:
            for index in binding.groups:
                group, value = self.optimizer.param_groups[index], float(new[binding.hyperparameter.name])
                if binding.field == "lr":
                    before = float(old[binding.hyperparameter.name]) if old else _base_lr(group)
                    value = float(group["lr"]) * (value / before) if value != before else float(group["lr"])
                assert binding.field is not None
                self.rule.write(group, binding.field, value)

    # ---- losses ----

    def leaves(self, values: Values, *, differentiable: bool) -> dict[str, Tensor]:
        """Fresh tensors of the values: optimizer options as float64, loss hyperparameters in the model's precision."""
        like = self.parameters[0]
        made = {}
        for binding in self.bindings:
            name = binding.hyperparameter.name
            dtype = like.dtype if binding.field is None else torch.float64
            leaf = values[name].to(device=like.device, dtype=dtype, copy=True)
            made[name] = (leaf if binding.field is None else leaf.reshape(())).requires_grad_(differentiable)
        return made

    def train(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Training loss on a batch."""
        return self._evaluate(self.train_loss, self._train_reads, batch, leaves)

    def validate(self, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        """Validation loss on a batch."""
        return self._evaluate(self.val_loss, self._val_reads, batch, leaves)

    def _evaluate(self, loss: Loss, reads: bool, batch: Any, leaves: Mapping[str, Tensor]) -> Tensor:
        if not reads:
            return loss(self.model, batch)
        names = [b.hyperparameter.name for b in self.bindings if b.field is None]
        hyper = HyperValues({name: leaves[name] for name in names})
        value = loss(self.model, batch, hyper)
        self.reads |= hyper.read
        return value

    def advance(self, batch: Any, values: Values) -> Tensor:
        """One plain step of training, exactly as a loop without hypergradients takes it; the detached loss."""
        self.optimizer.zero_grad()
        loss = self.train(batch, self.leaves(values, differentiable=False))
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    # ---- states ----

    def capture(self) -> InnerState:
        """A copy of everything the next inner step depends on."""
        slots, steps = [], []
        for parameter, group in zip(self.parameters, self.group_of, strict=True):
            options = self.rule.options(self.optimizer.param_groups[group])
            held, step = self.rule.read(parameter, self.optimizer.state.get(parameter, {}), options)
            slots.append({name: tensor.detach().clone() for name, tensor in held.items()})
            steps.append(step)
        return InnerState(
            tuple(p.detach().clone() for p in self.parameters),
            tuple(slots),
            tuple(steps),
            tuple(b.detach().clone() for b in self.model.buffers()),
            Randomness.capture(),
        )

    def snapshot(self, batch: Any, values: Values) -> Snapshot:
        """Record the inner step that is about to be taken."""
        options = tuple(self.rule.options(group) for group in self.optimizer.param_groups)
        return Snapshot(self.capture(), batch, options, values)

    @torch.no_grad()
    def place(self, state: InnerState) -> None:
        """Put parameters, module buffers and random generators to a recorded state; the optimizer stays untouched."""
        for live, kept in zip(self.parameters, state.parameters, strict=True):
            live.copy_(kept)
        for live, kept in zip(self.model.buffers(), state.buffers, strict=True):
            live.copy_(kept)
        state.randomness.restore()

    @contextmanager
    def rewound(self) -> Iterator[None]:
        """Come back to the present model, optimizer and random generators at the end, whatever was trained between."""
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        with self.preserved():
            try:
                yield
            finally:
                self.optimizer.load_state_dict(optimizer)

    @contextmanager
    def preserved(self) -> Iterator[InnerState]:
        """Come back to the present parameters, module buffers and random generators at the end."""
        state = self.capture()
        try:
            yield state
        finally:
            self.place(state)

    @torch.no_grad()
    def mean_val_loss(self, batches: Sequence[Any], values: Values) -> float:
        """Mean validation loss over `batches`, the model in eval mode."""
        leaves = self.leaves(values, differentiable=False)
        with evaluating(self.model):
            losses = [self.validate(batch, leaves) for batch in batches]
        return float(torch.stack(losses).mean())

    def outer_gradient(self, batches: Sequence[Any], values: Values) -> OuterGradient:
        """Mean validation loss over `batches` and its derivatives, the model in eval mode."""
        leaves = self.leaves(values, differentiable=True)
        with evaluating(self.model):
            losses = [self.validate(batch, leaves) for batch in batches]
            loss = torch.stack(losses).mean()
        wanted = [*self.parameters, *leaves.values()]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        grads = [torch.zeros_like(w) if f is None else f for w, f in zip(wanted, found, strict=True)]
        count = len(self.parameters)
        direct = torch.cat([g.detach().double().flatten() for g in grads[count:]])
        return OuterGradient(loss.detach(), tuple(grads[:count]), direct)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; each of its modules goes back to its own mode at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _takes_hyper(loss: Loss) -> bool:
    """Whether a loss takes a third positional argument."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(loss).parameters.values()
    return sum(p.kind in kinds for p in parameters) >= 3


def _base_lr(group: Mapping[str, Any]) -> float:
    """Learning rate of a group before any schedule's factor."""
    return float(group.get("initial_lr", group["lr"]))


def _labels(hyper: Hyperparameter) -> list[str]:
    return [hyper.name] if hyper.size == 1 else [f"{hyper.name}[{i}]" for i in range(hyper.size)]
