"""What a window remembers: the state an inner step starts from, and the record of the step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.rules import Slots
from ray_glocal.hypergradient.state.copies import sent
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.hypergradient.state.surroundings import Captured


@dataclass(frozen=True)
class InnerState:
    """All that the next inner step depends on besides its batch and the options."""

    parameters: tuple[Tensor, ...]
    slots: tuple[Slots, ...]
    steps: tuple[int, ...]
    buffers: tuple[Tensor, ...]
    randomness: Randomness
    surroundings: Captured | None = None  # where the step may be run again

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self._tensors())

    def moved(self, move: Callable[[Sequence[Tensor]], list[Tensor]]) -> "InnerState":
        """The same with other tensors, which `move` makes of all at once."""
        made = iter(move(self._tensors()))
        parameters = tuple(islice(made, len(self.parameters)))
        slots: tuple[Slots, ...] = tuple({} for _ in self.slots)
        for name in self._names():
            for own, held in zip(slots, self.slots, strict=True):
                if name in held:
                    own[name] = next(made)
        return replace(self, parameters=parameters, slots=slots, buffers=tuple(made))

    def on(self, device: torch.device) -> "InnerState":
        """The same with its tensors on a device."""
        here = self.parameters[0].device == device
        return self if here else self.moved(partial(sent, device=device))

    def _tensors(self) -> list[Tensor]:
        """Buffers of one name one after the other, as they are read."""
        held = [slots[name] for name in self._names() for slots in self.slots if name in slots]
        return [*self.parameters, *held, *self.buffers]

    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for slots in self.slots for name in slots))


@dataclass(frozen=True)
class Slope:
    """First derivatives of a step's training loss, by which the step was taken; None where the loss does not depend.

    Args:
        parameters: In the parameters: mean over micro-batches and ranks, unscaled, ahead of any clipping.
        hyper: In the hyperparameters that the loss reads, by name.
    """

    parameters: tuple[Tensor | None, ...]
    hyper: Mapping[str, Tensor]

    def cloned(self) -> "Slope":
        """One that outlives the step."""
        return Slope(tuple(None if gradient is None else gradient.clone() for gradient in self.parameters), self.hyper)


@dataclass(frozen=True)
class Snapshot:
    """One inner step, recorded when it was taken.

    Args:
        state: Where it started; None where that can be had by running the steps before it again.
        batch: On what: a copy that nobody else writes to.
        options: The optimizer's options of each parameter group.
        values: Hyperparameter values.
        slope: Its first derivatives, where the way it is differentiated needs them.
        scale: What the loss was multiplied by ahead of its backward pass.
        taken: Whether the optimizer stepped: a gradient scaler leaves out steps whose gradients overflow.
        loss: Its training loss, as it was when the step was taken; None where nobody took it down.
        frozen: Places of parameters that did not train yet; they do at the window's end.
        trouble: The sentence that says why its window cannot be differentiated; empty as a rule.
        marks: Of the tensors around the model when a window began, by its first step.
        field: Its gradient with its graph, where that was kept.
    """

    state: InnerState | None
    batch: Any
    options: tuple[Mapping[str, Any], ...]
    values: Values
    slope: Slope | None = None
    scale: float = 1.0
    taken: bool = True
    loss: Tensor | None = None
    frozen: frozenset[int] = frozenset()
    trouble: str = ""
    marks: Any = field(default=None, compare=False, repr=False)
    field: Any = field(default=None, compare=False, repr=False)

    def trained(self, gradients: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """Gradients of all parameters without those of the frozen ones."""
        return tuple(None if place in self.frozen else gradient for place, gradient in enumerate(gradients))

    @property
    def start(self) -> InnerState:
        """Where the step started; only of a snapshot that has its state."""
        assert self.state is not None
        return self.state
