"""Models as plain torch operations: without compiled code and without cuDNN's recurrent networks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from ray_glocal.hypergradient._compat import compiler_is_loaded


def differentiable_in_eval(model: nn.Module) -> AbstractContextManager[object]:
    """Run compiled models eagerly, and recurrent ones off cuDNN, whose RNNs refuse a backward pass in eval mode."""
    # Looking through the modules takes longer than all the rest.
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if started and any(isinstance(module, nn.RNNBase) for module in model.modules()):
        return _without_cudnn()
    return _uncompiled()


@contextmanager
def _without_cudnn() -> Iterator[None]:
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        with _uncompiled():
            yield
    finally:
        torch.backends.cudnn.enabled = enabled


def _uncompiled() -> AbstractContextManager[object]:
    """Skip what `torch.compile` made, which has no double backward and does not see hooks that come later."""
    # Looking before importing: the compiler takes seconds to load, and where nobody loaded it nothing is compiled.
    if not compiler_is_loaded() or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
