"""Formulas of many passes, taken over one block of rows after the other: their temporaries stay in the cache."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ray_glocal.hypergradient.kernels.tuning import BLOCK

Formula = Callable[..., Sequence[Tensor]]


def blockwise(formula: Formula, tensors: Sequence[Tensor], width: int) -> list[Tensor]:
    """Apply a formula to blocks of rows, and put its results together again.

    Args:
        formula: Takes some rows of each tensor; every tensor that it returns has rows, too.
        tensors: Each [rows, ...].
        width: Entries of the formula's temporaries per row.
    """
    size = max(1, BLOCK * torch.get_num_threads() // max(1, width))
    if tensors[0].device.type != "cpu" or size >= len(tensors[0]):
        return list(formula(*tensors))
    parts = zip(*(torch.split(tensor, size) for tensor in tensors), strict=True)
    if torch.is_grad_enabled():
        return [torch.cat(column) for column in zip(*(formula(*part) for part in parts), strict=True)]
    return _collected((formula(*part) for part in parts), size, len(tensors[0]))


def _collected(found: Iterator[Sequence[Tensor]], size: int, rows: int) -> list[Tensor]:
    """Results of blocks of `size` rows, `rows` in all, each put in its place while it is in the cache.

    A block may also give one row in place of each of its own, as a sum over them.
    """
    whole: list[Tensor] = []
    for number, block in enumerate(found):
        if not number:
            whole = [part.new_empty(rows if len(part) == size else -(-rows // size), *part.shape[1:]) for part in block]
        for tensor, part in zip(whole, block, strict=True):
            first = number * (size if len(tensor) == rows else 1)
            tensor[first : first + len(part)] = part
    return whole


def precise(tensor: Tensor) -> Tensor:
    """In single precision at least: half precision would be lost over the passes of a formula."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
