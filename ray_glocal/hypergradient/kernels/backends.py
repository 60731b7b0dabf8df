"""Which kernels torch may choose from for attention."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.nn.attention import SDPBackend

# How each is asked whether it is switched on, and switched; torch's own `sdpa_kernel` takes twenty times as long.
SWITCHES: Mapping[SDPBackend, tuple[Callable[[], bool], Callable[[bool], Any]]] = {
    SDPBackend.FLASH_ATTENTION: (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    SDPBackend.EFFICIENT_ATTENTION: (
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    SDPBackend.MATH: (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    SDPBackend.CUDNN_ATTENTION: (torch.backends.cuda.cudnn_sdp_enabled, torch.backends.cuda.enable_cudnn_sdp),
}

_outside: ContextVar[list[SDPBackend]] = ContextVar("outside")


def allowed() -> list[SDPBackend]:
    """The kernels that are switched on."""
    return [backend for backend, (enabled, _) in SWITCHES.items() if enabled()]


@contextmanager
def allowing(backends: Collection[SDPBackend]) -> Iterator[None]:
    """Switch on these kernels, and no other ones."""
    before = allowed()
    _switch(backends)
    try:
        yield
    finally:
        _switch(before)


@contextmanager
def only_math() -> Iterator[None]:
    """Leave torch its math kernel, the only one that it can differentiate twice, and remember what was allowed."""
    token = _outside.set(allowed())
    try:
        with allowing((SDPBackend.MATH,)):
            yield
    finally:
        _outside.reset(token)


def fused() -> AbstractContextManager[object]:
    """Allow what was allowed outside of `only_math`, or what the model has chosen since."""
    now = allowed()
    return allowing(_outside.get(now) if now == [SDPBackend.MATH] else now)


def _switch(backends: Collection[SDPBackend]) -> None:
    for backend, (_, enable) in SWITCHES.items():
        enable(backend in backends)
