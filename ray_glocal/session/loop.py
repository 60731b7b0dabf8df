"""The user's loop: what happens in it beside the session, and the mode that it leaves the model in."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ray_glocal.errors import ArgumentError
from ray_glocal.session.tuning import AHEAD


@dataclass
class _Beside:
    """Steps that an optimizer has taken outside of the session's own; a hook of it."""

    steps: int = 0
    within: bool = False  # a step of the session

    def __call__(self, *_: Any) -> None:
        self.steps += not self.within


class Loop:
    """Watches what a training loop does between two steps of its session.

    Args:
        model: The model; each step finds it in training mode.
        optimizer: Nobody but the session may step it.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model = model
        # Looked up at every step: a module's own dictionary takes a third of the time that its attribute does.
        self._modules = [vars(module) for module in model.modules() if "training" in vars(module)]
        self._modes: list[bool] | None = None  # of the modules, when the model last trained
        self._optimizer, self._groups = optimizer, len(optimizer.param_groups)
        self._ahead = 0  # batches handed out since the last step
        self._beside = _Beside()
        optimizer.register_step_post_hook(self._beside)

    def hand_out(self) -> None:
        """Count a batch that the loop is about to get.

        Raises:
            ArgumentError: It has got many, and takes no step on any.
        """
        if self._ahead >= AHEAD:
            remedy = "Call `session.step(batch)` in the loop, in place of zero_grad, backward and optimizer.step."
            raise ArgumentError("batch", "be trained on", f"{self._ahead} in a row handed out without a step", remedy)
        self._ahead += 1

    def enter(self) -> None:
        """Begin a step of the session: in training mode, whatever the loop has evaluated in between.

        Modules that the loop itself holds in eval mode while the model trains, frozen normalisations say, stay there.

        Raises:
            ArgumentError: The optimizer has been stepped beside the session, or has other parameter groups.
        """
        if len(self._optimizer.param_groups) != self._groups:
            remedy = "Build it with all of them, and thaw those that join later by `requires_grad_(True)`."
            got = f"{len(self._optimizer.param_groups)} of them"
            raise ArgumentError("optimizer", f"keep its parameter groups, {self._groups}", got, remedy)
        self._ahead = 0
        if self._beside.steps:
            remedy = "`session.step(batch)` takes the whole step: leave out zero_grad, backward and optimizer.step."
            got = f"{self._beside.steps} of its steps taken beside it"
            raise ArgumentError("optimizer", "be stepped by the session alone", got, remedy)
        self._beside.within = True
        if self._model.training:
            self._modes = [module["training"] for module in self._modules]
            return
        self._model.train()
        for module, mode in zip(self._modules, self._modes or (), strict=False):
            module["training"] = mode

    def leave(self) -> None:
        """End it."""
        self._beside.within = False
