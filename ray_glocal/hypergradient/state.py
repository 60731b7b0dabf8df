"""What a window remembers: the state an inner step starts from, and the record of the step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.layout import Layout, portions
from ray_glocal.hypergradient.randomness import Randomness
from ray_glocal.hypergradient.rules import Slots
from ray_glocal.hypergradient.surroundings import Captured

Values = Mapping[str, Tensor]  # float64 on the CPU, by name of the hyperparameter


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


@torch.no_grad()
def write(into: Sequence[Tensor], tensors: Sequence[Tensor], *, non_blocking: bool = False) -> None:
    """Copy tensors into others of the same shapes, in few launches on a GPU, where the many small ones cost most."""
    alike: dict[object, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(into, tensors, strict=True):
        targets, sources = alike.setdefault((target.device, target.dtype, source.dtype), ([], []))
        targets.append(target)
        sources.append(source)
    for targets, sources in alike.values():
        torch._foreach_copy_(targets, sources, non_blocking=non_blocking)


def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies side by side on the same device."""
    return _copied(tensors)


def pinned(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies side by side in page-locked memory of the host, on their way when this returns."""
    return _copied(tensors, pinned=True)


def _copied(tensors: Sequence[Tensor], *, pinned: bool = False) -> list[Tensor]:
    copies = _placed(tensors, lambda layout, some: layout.room(some[0], pinned=pinned))
    write(copies, tensors, non_blocking=pinned)
    return copies


def sent(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Copies side by side on another device, on their way when this returns."""
    return _placed(tensors, lambda layout, some: layout.whole(some).to(device, non_blocking=True))


def _placed(tensors: Sequence[Tensor], memory: Callable[[Layout, list[Tensor]], Tensor]) -> list[Tensor]:
    """Tensors of the same forms in the memory that is got for some that lie side by side, of one precision each."""
    made = list(tensors)
    for places in portions(tensors, [(tensor.dtype, tensor.device) for tensor in tensors]):
        some = [tensors[place] for place in places]
        layout = Layout.of(some)
        for place, part in zip(places, layout.parts(memory(layout, some)), strict=True):
            made[place] = part
    return made
