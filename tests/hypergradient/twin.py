"""A naive twin: the whole window in one autograd graph, by the formulas of the papers and torch's documentation.

It shares no code with the library but the losses. Each step has hyperparameters of its own, so that one unrolled
graph tells both what a change from the start does after k steps and what a change over the last k steps does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from ray_glocal.hypergradient import Lion, Problem

Held = dict[str, Any]


def sgd(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    g = g + o["weight_decay"] * w
    buffer = o["momentum"] * s["momentum_buffer"] + (1 - o["dampening"]) * g if "momentum_buffer" in s else g
    move = g + o["momentum"] * buffer if o["nesterov"] else buffer
    return w - o["lr"] * move, {"momentum_buffer": buffer}


def _adam(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    t = s.get("step", 0) + 1
    m = o["beta1"] * s.get("exp_avg", 0.0) + (1 - o["beta1"]) * g
    v = o["beta2"] * s.get("exp_avg_sq", 0.0) + (1 - o["beta2"]) * g**2
    corrected = (m / (1 - o["beta1"] ** t), v / (1 - o["beta2"] ** t))
    return w - o["lr"] * corrected[0] / (corrected[1].sqrt() + o["eps"]), {"step": t, "exp_avg": m, "exp_avg_sq": v}


def adam(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    return _adam(w, g + o["weight_decay"] * w, s, o)


def adamw(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    moved, held = _adam(w, g, s, o)
    return moved - o["lr"] * o["weight_decay"] * w, held


def rmsprop(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    g = g + o["weight_decay"] * w
    v = o["alpha"] * s.get("square_avg", 0.0) + (1 - o["alpha"]) * g**2
    buffer = o["momentum"] * s.get("momentum_buffer", 0.0) + g / (v.sqrt() + o["eps"])
    return w - o["lr"] * buffer, {"square_avg": v, "momentum_buffer": buffer}


def adagrad(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    t, g = s["step"], g + o["weight_decay"] * w
    v = s["sum"] + g**2
    return w - o["lr"] / (1 + t * o["lr_decay"]) * g / (v.sqrt() + o["eps"]), {"step": t + 1, "sum": v}


def lion(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    m = s.get("exp_avg", torch.zeros_like(w))
    move = (o["beta1"] * m + (1 - o["beta1"]) * g).sign() + o["weight_decay"] * w
    return w - o["lr"] * move, {"exp_avg": o["beta2"] * m + (1 - o["beta2"]) * g}


def _orthogonal(x: Tensor) -> Tensor:
    """In full precision, by the polynomial on the shorter side."""
    if len(x) > len(x.T):
        return _orthogonal(x.T).T
    x = x / x.norm()
    for _ in range(5):
        x = (3.4445 * torch.eye(len(x)).to(x) - 4.7750 * x @ x.T + 2.0315 * (x @ x.T) @ (x @ x.T)) @ x
    return x


def muon(w: Tensor, g: Tensor, s: Held, o: Mapping[str, Any]) -> tuple[Tensor, Held]:
    buffer = o["momentum"] * s.get("momentum_buffer", 0.0) + (1 - o["momentum"]) * g
    nesterov = o["momentum"] * buffer + (1 - o["momentum"]) * g
    smooth = _orthogonal(nesterov)
    # Its values are torch's own, which rounds to bfloat16.
    rounded = torch.optim._muon._zeropower_via_newtonschulz(nesterov.detach(), (3.4445, -4.7750, 2.0315), 5, 1e-7)
    move = max(1.0, len(w) / len(w.T)) ** 0.5 * (smooth + (rounded - smooth).detach())
    return w - o["lr"] * (move + o["weight_decay"] * w), {"momentum_buffer": buffer}


STEPS = {
    torch.optim.SGD: sgd,
    torch.optim.Adam: adam,
    torch.optim.AdamW: adamw,
    torch.optim.RMSprop: rmsprop,
    torch.optim.Adagrad: adagrad,
    Lion: lion,
    **({torch.optim.Muon: muon} if hasattr(torch.optim, "Muon") else {}),
}


def normalised_by_hand(weights: Mapping[str, Tensor], buffers: dict[str, Tensor], training: bool) -> Any:
    """The network with batch normalisation, whose running statistics torch would keep out of the graph."""

    def call(x: Tensor) -> Tensor:
        x = x @ weights["0.weight"].T
        mean, spread = x.mean(0), x - x.mean(0)
        if training:
            unbiased = (spread**2).sum(0) / (len(x) - 1)
            buffers["1.running_mean"] = 0.9 * buffers["1.running_mean"] + 0.1 * mean
            buffers["1.running_var"] = 0.9 * buffers["1.running_var"] + 0.1 * unbiased
            x = spread / ((spread**2).mean(0) + 1e-5).sqrt()
        else:
            x = (x - buffers["1.running_mean"]) / (buffers["1.running_var"] + 1e-5).sqrt()
        x = F.gelu(x * weights["1.weight"] + weights["1.bias"])
        return x @ weights["3.weight"].T + weights["3.bias"]

    return call


class Unrolled:
    """Validation losses after every step of a window, with the graph of all of it."""

    def __init__(self, problem: Problem, batches: Sequence[Any], val_batches: Sequence[Any]) -> None:
        self.problem, self.val_batches = problem, val_batches
        self.model = problem.model
        start = problem.start_values()
        like = next(problem.model.parameters())
        self.hyper = [
            {name: v.to(like.device, torch.float64, copy=True).requires_grad_() for name, v in start.items()}
            for _ in batches
        ]
        self.fixed = {n: p.detach() for n, p in self.model.named_parameters() if not p.requires_grad}
        trained = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        weights = {n: p.detach().clone().requires_grad_() for n, p in trained}
        buffers = {n: b.clone() for n, b in self.model.named_buffers()}
        held = {n: dict(problem.optimizer.state.get(p, {})) for n, p in trained}
        held = {n: {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()} for n, s in held.items()}
        for state in held.values():
            if "step" in state:
                state["step"] = int(state["step"])
        self.losses, self.path = [], []
        with sdpa_kernel(SDPBackend.MATH):
            for batch, hyper in zip(batches, self.hyper, strict=True):
                weights, held = self._step(weights, held, buffers, batch, hyper)
                self.path.append(weights)
                randomness = torch.get_rng_state()
                self.losses.append(self._validate(weights, {n: b.clone() for n, b in buffers.items()}))
                torch.set_rng_state(randomness)
        self.weights, self.buffers = weights, buffers

    def _call(self, weights: Mapping[str, Tensor], buffers: dict[str, Tensor]) -> Any:
        if "1.running_mean" in buffers:
            return normalised_by_hand(weights, buffers, self.model.training)
        return lambda x: functional_call(self.model, ({**self.fixed, **weights}, dict(buffers)), (x,))

    def _validate(self, weights: Mapping[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        self.model.eval()
        # The loss reads what held last; a change over the last steps includes it.
        call, hyper = self._call(weights, buffers), self.hyper[len(self.losses)]
        losses = [self.problem.val_loss(call, batch, hyper) for batch in self.val_batches]
        self.model.train()
        return sum(losses[1:], losses[0]) / len(losses)

    def _step(
        self, weights: dict[str, Tensor], held: dict[str, Held], buffers: dict[str, Tensor], batch: Any, hyper: Any
    ) -> tuple[dict[str, Tensor], dict[str, Held]]:
        loss = self.problem.train_loss(self._call(weights, buffers), batch, hyper)
        names = list(weights)
        found = torch.autograd.grad(loss, [weights[n] for n in names], create_graph=True, allow_unused=True)
        moved, states = {}, {}
        step = STEPS[type(self.problem.optimizer)]
        group = dict(self.problem.optimizer.param_groups[0])
        if "betas" in group:
            group["beta1"], group["beta2"] = group["betas"]
        options = {**group, **{k: v for k, v in hyper.items() if k in group}}
        for name, gradient in zip(names, found, strict=True):
            if gradient is None:
                moved[name], states[name] = weights[name], held[name]
            else:
                moved[name], states[name] = step(weights[name], gradient, held[name], options)
        return moved, states

    def contributions(self, k: int) -> Tensor:
        """Derivative of the loss after k steps in the hyperparameters of each step 1 .. k, shape [k, q]."""
        leaves = [leaf for hyper in self.hyper[:k] for leaf in hyper.values()]
        found = torch.autograd.grad(self.losses[k - 1], leaves, retain_graph=True, allow_unused=True)
        flat = [(torch.zeros_like(x) if f is None else f).flatten() for f, x in zip(found, leaves, strict=True)]
        return torch.cat(flat).reshape(k, -1).cpu()

    def forward(self) -> Tensor:
        """h_1 .. h_K."""
        return torch.stack([self.contributions(k + 1).sum(0) for k in range(len(self.losses))])

    def lags(self) -> Tensor:
        """Effect on the last loss of a change over the last k steps, k = 1 .. K."""
        return self.contributions(len(self.losses)).flip(0).cumsum(0)

    def tail_lags(self, tail: int) -> Tensor:
        """The same of the loss at the mean of the last weights."""
        mean = {name: sum(weights[name] for weights in self.path[-tail:]) / tail for name in self.weights}
        self.losses.pop()
        with sdpa_kernel(SDPBackend.MATH):
            self.losses.append(self._validate(mean, {n: b.clone() for n, b in self.buffers.items()}))
        return self.lags()
