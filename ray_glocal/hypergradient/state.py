"""What a window remembers: the state an inner step starts from, and the record of the step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient.randomness import Randomness
from ray_glocal.hypergradient.rules import Slots

Values = Mapping[str, Tensor]  # float64 on the CPU, by name of the hyperparameter


@dataclass(frozen=True)
class InnerState:
    """All that the next inner step depends on besides its batch and the options; every tensor is a copy."""

    parameters: tuple[Tensor, ...]
    slots: tuple[Slots, ...]
    steps: tuple[int, ...]
    buffers: tuple[Tensor, ...]
    randomness: Randomness

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        tensors = [*self.parameters, *self.buffers, *(t for held in self.slots for t in held.values())]
        return sum(tensor.nbytes for tensor in tensors)

    def on(self, device: torch.device) -> "InnerState":
        """The same with its tensors on a device."""
        if self.parameters[0].device == device:
            return self
        move = partial(Tensor.to, device=device, non_blocking=True)
        slots = tuple({name: move(tensor) for name, tensor in held.items()} for held in self.slots)
        parameters, buffers = tuple(map(move, self.parameters)), tuple(map(move, self.buffers))
        return replace(self, parameters=parameters, slots=slots, buffers=buffers)


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
        batch: On what.
        options: The optimizer's options of each parameter group.
        values: Hyperparameter values.
        slope: Its first derivatives, where the way it is differentiated needs them.
        scale: What the loss was multiplied by ahead of its backward pass.
        taken: Whether the optimizer stepped: a gradient scaler leaves out steps whose gradients overflow.
        field: Its gradient with its graph, where that was kept.
    """

    state: InnerState | None
    batch: Any
    options: tuple[Mapping[str, Any], ...]
    values: Values
    slope: Slope | None = None
    scale: float = 1.0
    taken: bool = True
    field: Any = field(default=None, compare=False, repr=False)

    @property
    def start(self) -> InnerState:
        """Where the step started; only of a snapshot that has its state."""
        assert self.state is not None
        return self.state


@torch.no_grad()
def write(into: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
    """Copy tensors into others of the same shapes, in few launches on a GPU, where the many small ones cost most."""
    alike: dict[object, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(into, tensors, strict=True):
        targets, sources = alike.setdefault((target.device, target.dtype, source.dtype), ([], []))
        targets.append(target)
        sources.append(source)
    for targets, sources in alike.values():
        torch._foreach_copy_(targets, sources)


def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies on the same device."""
    copies = [torch.empty_like(tensor, requires_grad=False) for tensor in tensors]
    write(copies, tensors)
    return copies


def pinned(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies in page-locked memory of the host, on their way when this returns."""
    places = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
    return [place.copy_(tensor.detach(), non_blocking=True) for place, tensor in zip(places, tensors, strict=True)]
