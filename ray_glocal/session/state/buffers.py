"""Module buffers that a state dict leaves out, and that the next step may depend on all the same."""

from collections.abc import Mapping

from torch import Tensor, nn


def transient_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers registered with `persistent=False`, by their full names."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name not in kept}


def set_transient_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Put them back, on the device and in the precision that they have here."""
    present = dict(model.named_buffers())
    for name, buffer in buffers.items():
        path, _, own = name.rpartition(".")
        like = present.get(name)
        placed = buffer if like is None else buffer.to(like)
        setattr(model.get_submodule(path), own, placed)
