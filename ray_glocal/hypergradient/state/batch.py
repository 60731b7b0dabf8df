"""Batches as every run of a step gets them: a copy of its own, for a loss may write into its batch or pop from it."""

import copy
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.state.layout import ALIGNMENT


def owned(batch: Any) -> Any:
    """A copy that shares no tensor and no container with a batch; kernels round on it as on the original.

    Raises:
        ArgumentError: The batch holds something that cannot be copied.
    """
    try:
        memo: dict[int, Any] = {}
        for tensor in sorted(tensors(batch), key=lambda t: (-_extent(t), t.numel())):  # wholes ahead of their parts
            _copied(tensor, memo)
        return _copied(batch, memo)
    except (TypeError, RuntimeError) as error:  # what copying raises
        remedy = f"Hand out batches of tensors, numbers, text and containers of them. Copying it raised: {error}"
        raise ArgumentError("batch", "be something that can be copied", type(batch).__name__, remedy) from error


def duplicated(value: Any) -> Any:
    """A deep copy of nested data, several times as quick as `copy.deepcopy` where most of it is tensors."""
    return _copied(value, {})


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A copy; what stands in several places of the original is one object in it, too."""
    if type(value) in (int, float, bool, str, bytes, type(None)):
        return value
    if id(value) in memo:
        return memo[id(value)]
    memo[id(value)] = made = _fresh(value, memo)
    return made


def _fresh(value: Any, memo: dict[int, Any]) -> Any:
    if type(value) is Tensor:
        return _tensor(value, memo)
    if type(value) in (list, tuple):
        return type(value)(_copied(item, memo) for item in value)
    if type(value) is dict:
        return {key: _copied(item, memo) for key, item in value.items()}
    return copy.deepcopy(value)


def _tensor(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """A copy; views of one memory are views of one memory again."""
    with torch.no_grad():
        if tensor.layout is not torch.strided:
            return tensor.detach().clone().requires_grad_(tensor.requires_grad)
        others: list[tuple[Tensor, Tensor]] = memo.setdefault(-tensor.untyped_storage().data_ptr() - 1, [])
        for other, made in others:
            if (view := _view(tensor, other, made)) is not None:
                return view.requires_grad_(tensor.requires_grad)
        made = tensor.detach().clone()
        if tensor.device.type == "cpu" and _lies(made) != _lies(tensor):
            made = _placed(made, _lies(tensor))
        others.append((tensor, made))
        return made.requires_grad_(tensor.requires_grad)


def _view(tensor: Tensor, other: Tensor, made: Tensor) -> Tensor | None:
    """What lies in a copy where a tensor lies in the copy's original; None where it lies elsewhere."""
    offset = tensor.storage_offset() - other.storage_offset()
    if not 0 <= offset <= offset + _extent(tensor) < other.numel() or made.stride() != other.stride():
        return None
    if tensor.dtype != other.dtype or made.requires_grad:
        return None
    if any(each.is_conj() or each.is_neg() for each in (tensor, other)):  # views that memory does not tell apart
        return None
    return made.as_strided(tensor.shape, tensor.stride(), made.storage_offset() + offset)


def _extent(tensor: Tensor) -> int:
    """Entries of memory from a tensor's first one to its last."""
    if tensor.layout is not torch.strided or tensor.is_nested:
        return 0
    return sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def _lies(tensor: Tensor) -> int:
    """Bytes from where an allocator would have put it: kernels may round differently elsewhere."""
    return tensor.data_ptr() % ALIGNMENT


def _placed(tensor: Tensor, lies: int) -> Tensor:
    """The same tensor, so many bytes behind a place where an allocator would put one."""
    size = tensor.element_size()
    if lies % size:
        return tensor
    room = tensor.new_empty(tensor.numel() + ALIGNMENT // size)
    start = ((lies - _lies(room)) % ALIGNMENT) // size
    return room.as_strided(tensor.shape, tensor.stride(), start).copy_(tensor)


def tensors(value: Any) -> list[Tensor]:
    """Tensors in a batch, in an order that it shares with its copies; none of what objects of other kinds hold."""
    if isinstance(value, Tensor):
        return [value]
    if type(value) in (list, tuple):
        return [found for item in value for found in tensors(item)]
    if type(value) is dict:
        return [found for item in value.values() for found in tensors(item)]
    return []
