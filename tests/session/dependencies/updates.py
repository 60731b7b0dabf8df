"""What happens to parameters and optimizers between steps, and in the forward pass."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from ..cases import entropy
from ..fuzz.layers import RunningScale
from ..fuzz.loops import Loop
from .hooks import around, hung
from .networks import LR, SGD, data, looped, mlp

# ---- other optimizers ----


def two_optimizers() -> Loop:
    """Muon takes matrices only, as its documentation says; AdamW the rest."""
    model = mlp()
    rest = torch.optim.AdamW([p for p in model.parameters() if p.ndim < 2], 0.05)
    muon = torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], LR)
    return looped(model, optimizer=muon, after=[lambda: (rest.step(), rest.zero_grad())])


def adversary() -> Loop:
    model = nn.ModuleDict({"g": nn.Linear(5, 5), "d": mlp()}).double()
    other, x = SGD(model["d"].parameters(), 0.1), data()[0][0]

    def after():
        other.zero_grad()
        model["d"](model["g"](x).detach()).square().mean().backward()
        other.step()

    return looped(
        model,
        lambda m, b: -m["d"](m["g"](b[0])).mean(),
        lambda m, b: (m["g"](b[0]) - b[0]).square().mean(),
        SGD(model["g"].parameters(), LR),
        after=[after],
    )


def other_model_trained_beside() -> Loop:
    """A critic of its own, that the loss reads."""
    model, critic = mlp(), mlp()
    other, x = SGD(critic.parameters(), 0.1), data()[0][0]

    def after():
        other.zero_grad()
        (critic(x) - model(x).detach()).square().mean().backward()
        other.step()

    loop = looped(model, lambda m, b: entropy(m, b) + (m(b[0]) - critic(b[0])).square().mean(), after=[after])
    loop.held += list(critic.parameters())
    return loop


def temperature_trained_beside() -> Loop:
    """A temperature that the loss reads, trained by the same gradient in another optimizer."""
    model, heat = mlp(), nn.Parameter(torch.zeros((), dtype=torch.double))
    other = SGD([heat], 0.1)
    loop = looped(
        model,
        lambda m, b: F.cross_entropy(m(b[0]) * heat.exp(), b[1]),
        after=[lambda: (other.step(), other.zero_grad())],
    )
    loop.held.append(heat)
    return loop


def group_added() -> Loop:
    model, steps = mlp(), [0]
    optimizer = SGD(model[2].parameters(), LR)
    model[0].requires_grad_(False)

    def after():
        steps[0] += 1
        if steps[0] == 4:
            model[0].requires_grad_(True)
            optimizer.add_param_group({"params": list(model[0].parameters()), "lr": LR})

    return looped(model, optimizer=optimizer, after=[after])


# ---- frozen and thawed ----


def gradual_unfreezing() -> Loop:
    model, steps = mlp(), [0]
    model[0].requires_grad_(False)

    def after():
        steps[0] += 1
        if steps[0] == 3:
            model[0].requires_grad_(True)

    return looped(model, after=[after])


def gradual_freezing() -> Loop:
    model, steps = mlp(), [0]

    def after():
        steps[0] += 1
        if steps[0] == 3:
            model[0].requires_grad_(False)
            model[0].zero_grad()

    return looped(model, after=[after])


def in_turns() -> Loop:
    """One layer, then the other."""
    model, steps = mlp(), [0]
    model[0].requires_grad_(False)

    def after():
        steps[0] += 1
        model[0].requires_grad_(steps[0] % 2 == 1)
        model[2].requires_grad_(steps[0] % 2 == 0)

    return looped(model, after=[after])


def thawed_before_the_window() -> Loop:
    """Thawed between the session's construction and its first step."""
    loop = gradual_freezing()
    loop.after.clear()
    loop.model[0].requires_grad_(False)
    fetch = loop.batch

    def batch(step):
        loop.model[0].requires_grad_(True)
        return fetch(step)

    loop.batch = batch
    return loop


# ---- between steps ----


def loaded_between_steps() -> Loop:
    model, steps = mlp(), [0]
    other = {name: 0.5 * value for name, value in copy.deepcopy(model.state_dict()).items()}

    def after():
        steps[0] += 1
        if steps[0] == 4:
            model.load_state_dict(other)

    return looped(model, after=[after])


def forgetful_optimizer() -> Loop:
    model, steps = mlp(), [0]
    optimizer = SGD(model.parameters(), LR, momentum=0.8)

    def after():
        steps[0] += 1
        if steps[0] == 4:
            optimizer.state.clear()

    return looped(model, optimizer=optimizer, after=[after])


def swapped_module() -> Loop:
    model, steps = mlp(), [0]

    def after():
        steps[0] += 1
        if steps[0] == 4:
            model[1] = nn.Sigmoid()

    return looped(model, after=[after])


def schedule_by_hand() -> Loop:
    """Dropout falls by hand."""
    model = mlp(nn.Tanh(), nn.Dropout(0.5))

    def after():
        model[2].p *= 0.8

    return looped(model, after=[after])


def maximal_norm_by_hand() -> Loop:
    model = mlp()

    def after():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.renorm(parameter, 2, 0, 0.4) if parameter.ndim > 1 else parameter)

    return looped(model, after=[after])


def lookahead() -> Loop:
    """Slow weights, every third step."""
    model, steps = mlp(), [0]
    slow = [p.detach().clone() for p in model.parameters()]

    def after():
        steps[0] += 1
        if steps[0] % 3 == 0:
            with torch.no_grad():
                for kept, parameter in zip(slow, model.parameters(), strict=True):
                    kept.lerp_(parameter, 0.5)
                    parameter.copy_(kept)

    return looped(model, after=[after])


# ---- in the forward pass ----


class MemoryBank(nn.Module):
    """Keeps features of earlier batches, and is drawn to them."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.register_buffer("bank", torch.zeros(16, 8))

    def forward(self, x):
        features = self.body(x).tanh()
        mixed = features + 0.3 * self.bank.clone().mean(0)
        if self.training:
            self.bank = features.detach()
        return self.head(mixed)


class PowerIteration(nn.Module):
    """Divides by the largest singular value, by one step of iteration a call, written by hand."""

    def __init__(self):
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(8, 5)), nn.Linear(8, 3)
        self.register_buffer("u", F.normalize(torch.ones(8), dim=0))

    def forward(self, x):
        with torch.no_grad():
            v = F.normalize(self.weight.t() @ self.u, dim=0)
            if self.training:
                self.u.copy_(F.normalize(self.weight @ v, dim=0))
        return self.head(torch.tanh(x @ (self.weight / (self.u.clone() @ self.weight @ v)).t()))


class Observed(nn.Module):
    """Fake quantisation by a running range."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(5, 8), nn.Linear(8, 3)
        self.register_buffer("range", torch.ones(()))

    def forward(self, x):
        hidden = self.body(x).tanh()
        if self.training:
            with torch.no_grad():
                self.range.lerp_(hidden.abs().max(), 0.3)
        return self.head(hidden / self.range.clone())


class UnreadStatistics(MemoryBank):
    """Features kept that nothing reads."""

    def forward(self, x):
        features = self.body(x).tanh()
        if self.training:
            self.bank = features.detach()
        return self.head(features)


def model_of(kind):
    return lambda: looped(kind().double())


FOLLOWED = {
    "features kept that nothing reads": model_of(UnreadStatistics),
    "an average that nothing reads": around("an average that nothing reads"),
    "frozen parameters": around("frozen parameters"),
    **{name: hung(name) for name in ("a clamp far away", "averaged weights beside")},
}
EITHER = {
    "dropout that falls": schedule_by_hand,
    "a second optimizer for the other parameters": two_optimizers,
    "an adversary trained beside": adversary,
    "a critic of its own": other_model_trained_beside,
    "a temperature in another optimizer": temperature_trained_beside,
    "a parameter group added": group_added,
    "gradual unfreezing": gradual_unfreezing,
    "gradual freezing": gradual_freezing,
    "layers in turns": in_turns,
    "thawed before the first step": thawed_before_the_window,
    "weights loaded between steps": loaded_between_steps,
    "optimizer forgets": forgetful_optimizer,
    "module swapped": swapped_module,
    "norms bounded by hand": maximal_norm_by_hand,
    "slow weights": lookahead,
    "teacher updated in forward": around("a teacher updated in forward"),
    "memory bank": model_of(MemoryBank),
    "power iteration": model_of(PowerIteration),
    "running range": model_of(Observed),
    "running scale": lambda: looped(mlp(RunningScale(), nn.Tanh()).double()),
}
EITHER |= {
    name: hung(name)
    for name in (
        "a clamp",
        "renormalised weights",
        "replaced data",
        "noise on weights",
        "a second optimizer",
        "a second loss",
        "an option by hand",
    )
}
