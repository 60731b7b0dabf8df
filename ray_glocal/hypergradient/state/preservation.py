"""What a window borrows and gives back: the optimizer's buffers and options, and the model's train or eval mode."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ray_glocal.hypergradient.state.batch import duplicated


@dataclass(frozen=True)
class OptimizerState:
    """A copy of an optimizer's buffers and options that goes back without replacing its groups.

    `load_state_dict` would make new ones, and whoever holds a group, a scheduler or a loop, would write into the old.
    """

    buffers: Mapping[Tensor, Mapping[str, Any]]
    options: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer) -> "OptimizerState":
        """The state of `optimizer` now."""
        buffers = {parameter: duplicated(held) for parameter, held in optimizer.state.items()}
        groups = [{name: option for name, option in g.items() if name != "params"} for g in optimizer.param_groups]
        return cls(buffers, tuple(copy.deepcopy(groups)))

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the same optimizer back to it."""
        optimizer.state.clear()
        optimizer.state.update(self.buffers)
        for group, options in zip(optimizer.param_groups, self.options, strict=True):
            for name in group.keys() - options.keys() - {"params"}:
                del group[name]
            group.update(options)


def held_of(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> list[Mapping[str, Any]]:
    """What an optimizer holds of each parameter; counts of steps that lie on a device are fetched together."""
    states: list[Mapping[str, Any]] = [optimizer.state.get(p, {}) for p in parameters]
    away = [i for i, s in enumerate(states) if isinstance(s.get("step"), Tensor) and s["step"].device.type != "cpu"]
    if away:
        device = parameters[0].device
        counts = torch.stack([states[i]["step"].to(device) for i in away]).tolist()
        for i, count in zip(away, counts, strict=True):
            states[i] = {**states[i], "step": count}
    return states


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in eval mode; each of its modules goes back to its own mode at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
