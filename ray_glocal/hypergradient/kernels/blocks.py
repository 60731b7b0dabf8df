"""Formulas of many passes, taken over one block of rows after the other: their temporaries stay in the cache."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BLOCK = 2**17  # entries of a temporary per thread: half a megabyte in single precision

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
    return [torch.cat(column) for column in zip(*(formula(*part) for part in parts), strict=True)]


def precise(tensor: Tensor) -> Tensor:
    """In single precision at least: half precision would be lost over the passes of a formula."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
