"""By what it is noticed that a tensor holds something else: numbers that tell tensors apart, and counts of writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import version
from ray_glocal.hypergradient.tuning import FULL, WIDTH

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Mark:
    """By what it is noticed that a tensor has changed: a number that tells it from others, or who wrote to it."""

    value: Any
    version: int
    fingerprint: float | None

    def differs(self, other: "Mark") -> bool:
        """Whether it holds something else."""
        here, there = self.fingerprint, other.fingerprint
        if here is not None and there is not None:
            return here != there and not (math.isnan(here) and math.isnan(there))
        return self.value is not other.value or self.version != other.version


def whole(tensor: Tensor) -> bool:
    """Whether a tensor is one that can be compared and written to entry by entry."""
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_inference()


def version_of(tensor: Tensor) -> int:
    """How often it was written to; inference tensors do not count that."""
    return 0 if tensor.is_inference() else version(tensor)


def alike(held: Tensor, value: Tensor) -> bool:
    """Whether two tensors of one shape hold the same, NaN for NaN."""
    return torch.equal(held, value) or bool(((held == value) | (held.isnan() & value.isnan())).all())


def fingerprints(tensors: Sequence[Tensor]) -> list[float | None]:
    """A number for each tensor of numbers that tells it from others, as far as looking at them takes little."""
    room = FULL
    found: list[float | None] = []
    for tensor in tensors:
        room -= tensor.numel()
        looked = room > 0 and whole(tensor) and (tensor.is_floating_point() or tensor.is_complex())
        found.append(_fingerprint(tensor.detach()) if looked else None)
    return found


def _fingerprint(tensor: Tensor) -> float:
    """A sum of all entries, each with a weight of its own: of unit vectors all lengths are one."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    flat = (real if real.dtype is torch.float64 else real.float()).reshape(-1)
    if flat.numel() <= WIDTH:
        return float(flat @ _weights(flat.numel(), flat.dtype, flat.device))
    rows = flat.numel() // WIDTH
    sums = flat[: rows * WIDTH].view(rows, WIDTH) @ _weights(WIDTH, flat.dtype, flat.device)
    return float(sums @ _weights(rows, flat.dtype, flat.device)) + _fingerprint(flat[rows * WIDTH :])


@lru_cache(maxsize=256)
def _weights(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers around one that follow no pattern."""
    return (0.5 + (torch.arange(1, count + 1, dtype=torch.float64) * GOLDEN).frac()).to(device, dtype)
