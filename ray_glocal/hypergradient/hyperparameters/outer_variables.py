"""All hyperparameters of a problem: their entries, values and coordinates, and the options that follow them."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import version
from ray_glocal.hypergradient.hyperparameters.binding import bound
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Hyperparameter, Values
from ray_glocal.hypergradient.hyperparameters.line import Line
from ray_glocal.hypergradient.hyperparameters.rates import WHOLE, Proportion, proportions
from ray_glocal.hypergradient.rules import rule_for
from ray_glocal.options import PROPORTIONAL

# Key of a parameter group that holds the group's adapted rate, which its `lr` is a multiple of; `initial_lr`, which
# schedulers own, stays where it was when the rate moves on.
ADAPTED_LR = "adapted_lr"


class OuterVariables:
    """The hyperparameters that an outer problem adapts.

    Args:
        hyperparameters: In the order of their entries.
        optimizer: The one whose options some of them set; it has an update rule.
        parameters: Those that it trains, in whose precision and on whose device losses read values.
        read: Whether any loss takes those that are no options.

    Raises:
        ArgumentError: An optimizer without an update rule, no or unknown hyperparameters, names or options twice,
            groups out of range, or a learning rate or momentum of zero.
    """

    def __init__(
        self,
        hyperparameters: Sequence[Hyperparameter],
        optimizer: torch.optim.Optimizer,
        parameters: tuple[Tensor, ...],
        *,
        read: bool,
    ) -> None:
        self.optimizer, self.parameters = optimizer, parameters
        self.rule = rule_for(optimizer)
        self.hyperparameters = tuple(hyperparameters)
        self.bindings = bound(self.hyperparameters, optimizer, self.rule, read=read)
        self._line = Line(self.bindings)
        ends = np.cumsum([hyper.size for hyper in self.hyperparameters]).tolist()
        self.places = {h.name: slice(end - h.size, end) for h, end in zip(self.hyperparameters, ends, strict=True)}
        self._read_by_losses = [b.hyperparameter.name for b in self.bindings if b.field is None]
        self._peaks: dict[int, float] = {}  # rates that groups are given by a scheduler which owns them
        self._proportions: dict[str, dict[int, Proportion]] | None = None  # until options are first written
        self._held: tuple[Values, dict[str, Tensor]] | None = None
        self._sent: dict[tuple[str, torch.dtype], tuple[weakref.ref[Tensor], int, Tensor]] = {}

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

    # ---- options ----

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
            rule = f"be one number a step, or one for each of {len(bases)} groups"
            raise ArgumentError("factors", rule, each, "Hand one number where all groups have the same.")
        for group, base, own in zip(self.optimizer.param_groups, bases, each, strict=True):
            self.rule.write(group, "lr", base * own)

    # ---- tensors that losses read ----

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
        if sent is None or sent[0]() is not value or sent[1] != version(value):
            near = value.detach().to(self.parameters[0].device, dtype, copy=True)
            sent = self._sent[name, dtype] = weakref.ref(value), version(value), near
        return sent[2]

    def stacked(self, derivatives: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Derivatives by name of the hyperparameter, zero where there is none, as rows [n, q] of float64."""
        device, sizes = self.parameters[0].device, [hyper.size for hyper in self.hyperparameters]
        nothing = dict(zip(self.places, torch.split(torch.zeros(self.size, device=device), sizes), strict=True))

        def found(row: Mapping[str, Tensor], name: str, none: Tensor) -> Tensor:
            return row[name].detach().reshape(-1).to(device) if name in row else none

        rows = [torch.cat([found(row, name, none) for name, none in nothing.items()]) for row in derivatives]
        return torch.stack(rows).double()

    def units(self, leaves: Mapping[str, Tensor]) -> list[Tensor]:
        """The q unit vectors, as tangents [q, *shape] of some hyperparameters."""
        made = []
        for name, leaf in leaves.items():
            unit = torch.zeros(self.size, leaf.numel(), dtype=leaf.dtype, device=leaf.device)
            unit[self.places[name]] = torch.eye(leaf.numel(), dtype=leaf.dtype, device=leaf.device)
            made.append(unit.reshape(self.size, *leaf.shape))
        return made

    def _constants(self, values: Values) -> dict[str, Tensor]:
        """The leaves of plain steps, made once for each set of values: with dozens they take longer than the step."""
        if self._held is None or self._held[0] is not values:
            self._held = values, self.leaves(values, differentiable=False)
        return self._held[1]


def _initial_lr(group: Mapping[str, Any]) -> float:
    """Learning rate that a group was given."""
    return float(group.get("initial_lr", group["lr"]))


def _rescaled(lr: Any, before: float, value: float) -> float:
    """A group's `lr` when the rate that it is a multiple of goes from `before` to `value`."""
    if before == 0:  # nothing was learnt so far, and no factor can be read off
        return value
    return float(lr) * (value / before) if value != before else float(lr)
