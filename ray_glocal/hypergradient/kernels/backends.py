"""Which kernels torch may choose from for attention."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

_outside: ContextVar[list[SDPBackend]] = ContextVar("outside")


def allowed() -> list[SDPBackend]:
    """The kernels that are switched on."""
    cuda = torch.backends.cuda
    switches: dict[SDPBackend, Callable[[], bool]] = {
        SDPBackend.FLASH_ATTENTION: cuda.flash_sdp_enabled,
        SDPBackend.EFFICIENT_ATTENTION: cuda.mem_efficient_sdp_enabled,
        SDPBackend.MATH: cuda.math_sdp_enabled,
        SDPBackend.CUDNN_ATTENTION: cuda.cudnn_sdp_enabled,
    }
    return [backend for backend, on in switches.items() if on()]


@contextmanager
def only_math() -> Iterator[None]:
    """Leave torch its math kernel, the only one that it can differentiate twice, and remember what was allowed."""
    token = _outside.set(allowed())
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        _outside.reset(token)


def fused() -> AbstractContextManager[object]:
    """Allow what was allowed outside of `only_math`, or what the model has chosen since."""
    now = allowed()
    choice: AbstractContextManager[object] = sdpa_kernel(_outside.get(now) if now == [SDPBackend.MATH] else now)
    return choice
