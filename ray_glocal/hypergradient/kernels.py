"""Kernels that can be differentiated as often as a window needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Use attention's math kernel and native RNN kernels: fused attention and cuDNN's RNNs have no double backward."""
    with differentiable_in_eval(model), sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def differentiable_in_eval(model: nn.Module) -> Iterator[None]:
    """Keep recurrent models off cuDNN, whose RNNs refuse a backward pass in eval mode; other models keep its speed."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = enabled and not recurrent
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled
