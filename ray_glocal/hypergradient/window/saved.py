"""What graphs that are kept hold: copies in place of tensors that will be written to before they are differentiated.

A graph holds the very parameters that the optimizer then writes into. While a step whose graph is kept is taken, each
tensor that its operations save is looked at: of parameters and of the batch it holds the copies that were made for the
step's record anyway, of buffers copies of its own; of everything else the tensor itself, and that nobody has written
to it is checked when it is read again.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ray_glocal.hypergradient._compat import version as version_of
from ray_glocal.hypergradient.trouble import OverwrittenError

Packed = tuple[Tensor, int]  # with its version, where it must not be written to; else -1


class Saved:
    """Decides what a graph holds.

    Args:
        copies: Tensors that will be written to, with copies of what they hold now, of the same shapes and strides.
        written: Tensors that may be written to at any time: what is saved of them is copied when it is.
    """

    def __init__(self, copies: Sequence[tuple[Tensor, Tensor]], written: Sequence[Tensor] = ()) -> None:
        self.held: dict[int, int] = {}  # bytes of each storage that only the graph holds, by its place in memory
        self._own: dict[int, list[tuple[Tensor, int, Tensor]]] = {}
        for tensor, copy in copies:
            if tensor.layout is torch.strided:
                self._own.setdefault(_place(tensor), []).append((tensor, version_of(tensor), copy))
        self._written = {_place(tensor) for tensor in written if tensor.layout is torch.strided}

    def pack(self, tensor: Tensor) -> Packed:
        """What is held of a tensor that an operation saves."""
        if tensor.layout is not torch.strided:
            return tensor.detach(), version_of(tensor)
        place = _place(tensor)
        for original, version, copy in self._own.get(place, ()):
            found = _within(tensor, original, version, copy)
            if found is not None:
                return found, -1
        if place in self._own or place in self._written:
            fresh = tensor.detach().clone()
            self.held[_place(fresh)] = fresh.nbytes
            return fresh, -1
        self.held[place] = tensor.untyped_storage().nbytes()
        return tensor.detach(), version_of(tensor)  # itself, it would keep its own graph alive for ever

    def unpack(self, packed: Packed) -> Tensor:
        """Inverse of `pack`.

        Raises:
            OverwrittenError: It was written to in between.
        """
        tensor, version = packed
        if version >= 0 and version_of(tensor) != version:
            sentence = f"a tensor of shape {tuple(tensor.shape)} that a loss had used was written to after the step"
            raise OverwrittenError(sentence)
        return tensor

    def hooks(self) -> saved_tensors_hooks:
        """Holds so what is saved inside of the context."""
        return saved_tensors_hooks(self.pack, self.unpack)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _within(tensor: Tensor, original: Tensor, version: int, copy: Tensor) -> Tensor | None:
    """What lies in a copy where a view lies in its original; None where it lies elsewhere, or that was written to."""
    offset = tensor.storage_offset() - original.storage_offset()
    reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    inside = offset >= 0 and offset + reach < original.numel() and copy.stride() == original.stride()
    if not inside or version_of(original) != version or tensor.dtype != original.dtype:
        return None
    if tensor.is_conj() != original.is_conj() or tensor.is_neg() != original.is_neg():
        return None
    return copy.as_strided(tensor.shape, tensor.stride(), copy.storage_offset() + offset)
