"""What `torch.autocast` makes of a kernel's inputs before the kernel sees them."""

from collections.abc import Sequence

import torch
from torch import Tensor

DEVICES = ("cpu", "cuda")  # whose rules are known


def active(device: torch.device) -> bool:
    """Whether operations on a device are cast."""
    return torch.is_autocast_enabled(device.type)


def lowered(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Inputs of kernels that run in the lower precision: all numbers but those in double precision are cast."""
    return [t if t is None or not _castable(t) else t.to(torch.get_autocast_dtype(t.device.type)) for t in tensors]


def promoted(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Inputs of kernels that autocast runs in single precision on a GPU, and leaves alone on a CPU."""
    return [t.float() if t is not None and t.device.type == "cuda" and _castable(t) else t for t in tensors]


def _castable(tensor: Tensor) -> bool:
    return active(tensor.device) and tensor.is_floating_point() and tensor.dtype != torch.float64
