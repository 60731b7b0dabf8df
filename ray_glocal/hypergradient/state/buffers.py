"""The buffers of a model, which a forward pass may write to or replace."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ray_glocal.hypergradient._compat import held_buffers
from ray_glocal.hypergradient.state.copies import write


class Buffers:
    """Those that a model has now, and those that take their places later.

    Args:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._known = {id(buffer): buffer for buffer in model.buffers()}  # held, or their ids would name others

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether it was a buffer from the beginning."""
        return id(tensor) in self._known

    def write(self, states: Sequence[Tensor]) -> None:
        """Put buffers back."""
        pairs = list(zip(self._model.buffers(), states, strict=True))
        own = [pair for pair in pairs if pair[0] in self]
        write([buffer for buffer, _ in own], [state for _, state in own])
        if len(own) < len(pairs):
            self._replace({id(buffer): state for buffer, state in pairs if buffer not in self})

    def _replace(self, states: Mapping[int, Tensor]) -> None:
        """Let others stand in the places of buffers that a forward pass has made: a graph may lead to those."""
        for held in (held_buffers(module) for module in self._model.modules()):
            for name, buffer in list(held.items()):
                state = states.get(id(buffer))
                if buffer is not None and state is not None and not torch.equal(buffer, state.to(buffer)):
                    held[name] = state.to(buffer, copy=True)
