"""Lion, which torch does not ship."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import foreach_add_, foreach_lerp, foreach_lerp_, foreach_mul_, foreach_sign_


class Lion(torch.optim.Optimizer):
    """Steps by the sign of an interpolated gradient, with decoupled weight decay.

    In every step, for gradient g and moment m: u = sign(beta1 m + (1 - beta1) g); the parameter becomes
    (1 - lr weight_decay) parameter - lr u; then m becomes beta2 m + (1 - beta2) g.

    The sign has the derivative zero almost everywhere. So the betas have no hypergradient and are not offered as
    fields: learning rate and weight decay are. For the same reason what acts through the gradient alone, such as the
    weights of a training loss, has none either.

    Args:
        params: Parameters or groups of them, as of any torch optimizer.
        lr: Learning rate, not negative; a third to a tenth of AdamW's.
        betas: Decay rates of the moment in the step and in itself, each in [0, 1).
        weight_decay: Decoupled weight decay, not negative; three to ten times AdamW's.

    Raises:
        ArgumentError: A number is out of its range.

    Source: Chen et al. 2023 (arXiv:2302.06675), algorithm 2.
    """

    def __init__(
        self, params: Any, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0
    ) -> None:
        usual = {
            "lr": "A third to a tenth of AdamW's is usual.",
            "weight_decay": "Three to ten times AdamW's is usual.",
        }
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ArgumentError(name, "not be negative", value, usual[name])
        if not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError("betas", "each be at least 0 and below 1", betas, "(0.9, 0.99) is usual.")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on every parameter that has a gradient; the value of `closure`, if one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._move(parameters, group)
        return loss

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Step the parameters of one group."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["exp_avg"] = torch.zeros_like(parameter)
        moments = [self.state[p]["exp_avg"] for p in parameters]
        beta1, beta2 = group["betas"]
        directions = foreach_lerp(moments, gradients, 1 - beta1)
        foreach_sign_(directions)
        foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        foreach_add_(parameters, directions, alpha=-group["lr"])
        foreach_lerp_(moments, gradients, 1 - beta2)
