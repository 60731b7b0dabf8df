"""Parameters that share an update: where a rule is elementwise, small tensors are updated as one flat one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.state import Snapshot

LARGE = 2**14  # entries from which a tensor's arithmetic costs a CPU more than the calls, and a copy; never on a GPU
FULL = 2**26  # entries beyond which copies would take more memory than calls take time


@dataclass(frozen=True)
class Bucket:
    """Parameters of one group, age, precision and kind of buffers, by their places.

    Args:
        places: Indices into the problem's parameters.
        shapes: Their shapes.
        whole: Whether the one parameter in it keeps its shape, for a rule that is not elementwise.
    """

    places: tuple[int, ...]
    shapes: tuple[torch.Size, ...]
    whole: bool = False

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors [..., *shape], one for each place, as one [..., entries]; a single one is not copied."""
        if self.whole:
            return tensors[0]
        pieces = [
            tensor.reshape((*tensor.shape[: tensor.ndim - len(shape)], shape.numel()))
            for tensor, shape in zip(tensors, self.shapes, strict=True)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def apart(self, flat: Tensor) -> list[Tensor]:
        """Inverse of `flat`, without a copy."""
        if self.whole:
            return [flat]
        pieces = torch.split(flat, [shape.numel() for shape in self.shapes], dim=-1)
        return [piece.reshape((*piece.shape[:-1], *shape)) for piece, shape in zip(pieces, self.shapes, strict=True)]


def buckets(problem: Problem, snapshot: Snapshot, gradients: Sequence[Tensor | None]) -> Iterator[Bucket]:
    """All parameters that have a gradient: large ones alone, small ones with one update rule together."""
    together: dict[object, list[int]] = {}
    for place, (parameter, gradient) in enumerate(zip(snapshot.start.parameters, gradients, strict=True)):
        if gradient is None:
            continue
        if not problem.rule.elementwise:
            yield Bucket((place,), (parameter.shape,), whole=True)
        elif parameter.device.type == "cpu" and parameter.numel() >= LARGE:
            yield Bucket((place,), (parameter.shape,))
        else:
            age, slots = snapshot.start.steps[place], tuple(snapshot.start.slots[place])
            kind = (problem.group_of[place], age, slots, parameter.dtype, parameter.device)
            places = together.setdefault(kind, [])
            if places and sum(snapshot.start.parameters[i].numel() for i in places) + parameter.numel() > FULL:
                yield _bucket(snapshot, places)
                places = together[kind] = []
            places.append(place)
    for places in together.values():
        yield _bucket(snapshot, places)


def _bucket(snapshot: Snapshot, places: Sequence[int]) -> Bucket:
    return Bucket(tuple(places), tuple(snapshot.start.parameters[place].shape for place in places))
