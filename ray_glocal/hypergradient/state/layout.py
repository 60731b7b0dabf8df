"""Where several tensors lie side by side in one memory, so that they are copied, moved and updated as one.

In the gaps between them are zeros. Each tensor starts where an allocator might have put it: kernels may round
differently elsewhere, and a copy must compute what its original does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import foreach_copy_
from ray_glocal.hypergradient.tuning import FULL

ALIGNMENT = 64  # bytes

Form = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides


@dataclass(frozen=True)
class Layout:
    """Places of tensors in a flat one.

    Args:
        forms: Shape and strides of each tensor.
        starts: Its first entry.
        size: Entries from the first tensor's start to the last one's end.
        gaps: Entries between them.
    """

    forms: tuple[Form, ...]
    starts: tuple[int, ...]
    size: int
    gaps: tuple[int, ...]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> "Layout":
        """For copies of tensors of one precision, in their memory formats."""
        return cls._of(tuple((tuple(t.shape), t.stride()) for t in tensors), tensors[0].element_size())

    @classmethod
    @cache
    def _of(cls, forms: tuple[Form, ...], itemsize: int) -> "Layout":
        own = tuple((shape, _dense(shape, stride)) for shape, stride in forms)
        step = max(1, ALIGNMENT // itemsize)
        starts: list[int] = []
        gaps: list[int] = []
        end = 0
        for shape, _ in own:
            start = -(-end // step) * step
            gaps.extend(range(end, start))
            starts.append(start)
            end = start + torch.Size(shape).numel()
        return cls(own, tuple(starts), end, tuple(gaps))

    def room(self, like: Tensor, lead: Sequence[int] = (), *, pinned: bool = False) -> Tensor:
        """Memory [*lead, size] of the precision and on the device of a tensor, or page-locked memory of the host."""
        device = torch.device("cpu") if pinned else like.device
        flat = torch.empty((*lead, self.size), dtype=like.dtype, device=device, pin_memory=pinned)
        return flat.index_fill_(-1, _index(self.gaps, device), 0) if self.gaps else flat

    def parts(self, flat: Tensor) -> list[Tensor]:
        """The tensors in a flat one [*lead, size], each [*lead, *shape], without a copy."""
        lead, ahead, first = flat.shape[:-1], flat.stride()[:-1], flat.storage_offset()
        return [
            flat.as_strided((*lead, *shape), (*ahead, *stride), first + start)
            for (shape, stride), start in zip(self.forms, self.starts, strict=True)
        ]

    def whole(self, tensors: Sequence[Tensor]) -> Tensor:
        """Inverse of `parts`: without a copy of tensors that lie side by side already."""
        first = tensors[0]
        lead = first.shape[: first.ndim - len(self.forms[0][0])]
        ahead = (self.size,) * len(lead)
        if self._holds(tensors, ahead):
            return first.as_strided((*lead, self.size), (*ahead, 1), first.storage_offset())
        flat = self.room(first, lead)
        foreach_copy_(self.parts(flat), list(tensors))
        return flat

    def _holds(self, tensors: Sequence[Tensor], ahead: Sequence[int]) -> bool:
        """Whether tensors lie as this says, in one memory."""
        place, itemsize = tensors[0].data_ptr(), tensors[0].element_size()
        for tensor, (_, stride), start in zip(tensors, self.forms, self.starts, strict=True):
            if tensor.data_ptr() != place + start * itemsize or tensor.stride() != (*ahead, *stride):
                return False
        # What lies between the ends of one memory lies in it.
        return tensors[0].untyped_storage().data_ptr() == tensors[-1].untyped_storage().data_ptr()


def portions(tensors: Sequence[Tensor], kinds: Sequence[object]) -> list[list[int]]:
    """Places of the tensors of each kind, in portions that one memory is asked for; of kind None there are none."""
    found: dict[object, list[list[int]]] = {}
    taken: dict[object, int] = {}
    for place, (tensor, kind) in enumerate(zip(tensors, kinds, strict=True)):
        if kind is None:
            continue
        every, count = found.setdefault(kind, [[]]), tensor.numel()
        if every[-1] and taken[kind] + count > FULL:
            every.append([])
            taken[kind] = 0
        every[-1].append(place)
        taken[kind] = taken.get(kind, 0) + count
    return [portion for every in found.values() for portion in every]


@cache
def _index(places: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(places, device=device)


def _dense(shape: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a copy."""
    return torch.empty_like(torch.empty_strided(shape, stride, device="meta")).stride()
