"""Copies of many tensors at once: side by side in memory, on their device, in the host's or on another."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import foreach_copy_
from ray_glocal.hypergradient.state.layout import Layout, portions


@torch.no_grad()
def write(into: Sequence[Tensor], tensors: Sequence[Tensor], *, non_blocking: bool = False) -> None:
    """Copy tensors into others of the same shapes, in few launches on a GPU, where the many small ones cost most."""
    alike: dict[object, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(into, tensors, strict=True):
        targets, sources = alike.setdefault((target.device, target.dtype, source.dtype), ([], []))
        targets.append(target)
        sources.append(source)
    for targets, sources in alike.values():
        foreach_copy_(targets, sources, non_blocking=non_blocking)


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
