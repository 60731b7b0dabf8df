"""Parameters that a loss finds elsewhere than in the model it is given."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ..cases import entropy
from ..fuzz.loops import Loop
from .networks import looped, mlp


def _pulled(held, at):
    return 0.5 * sum(((p - q) ** 2).sum() for p, q in zip(held, at, strict=True))


def _start(held):
    return [p.detach().clone() for p in held]


def in_a_list() -> Loop:
    """A penalty that is zero at the first step."""
    model = mlp()
    held = list(model.parameters())
    at = _start(held)
    return looped(model, lambda m, b: entropy(m, b) + _pulled(held, at))


def in_a_dict() -> Loop:
    model = mlp()
    held = {"weights": {name: (p, p.detach().clone()) for name, p in model.named_parameters()}}
    return looped(model, lambda m, b: entropy(m, b) + _pulled(*zip(*held["weights"].values(), strict=True)))


def in_a_closure() -> Loop:
    model = mlp()
    weight = model[0].weight
    return looped(model, lambda m, b: entropy(m, b) + 0.1 * weight.square().sum())


def in_a_default() -> Loop:
    model = mlp()

    def train(m, b, *, weight=model[0].weight):
        return entropy(m, b) + 0.1 * weight.square().sum()

    return looped(model, train)


def in_a_partial() -> Loop:
    def train(weight, m, b):
        return entropy(m, b) + 0.1 * weight.square().sum()

    model = mlp()
    return looped(model, partial(train, model[0].weight))


class Objective:
    """A loss that is an object, and holds the model too."""

    def __init__(self, model):
        self.model = model
        self.groups = [(p, p.detach().clone()) for p in model.parameters()]

    def __call__(self, model, batch):
        return entropy(self.model, batch) + _pulled(*zip(*self.groups, strict=True))

    def method(self, model, batch):
        return self(model, batch)


def in_an_object() -> Loop:
    model = mlp()
    return looped(model, Objective(model))


def in_a_method() -> Loop:
    model = mlp()
    return looped(model, Objective(model).method)


HELD: list[nn.Parameter] = []


def in_a_global() -> Loop:
    model = mlp()
    HELD[:] = model.parameters()
    return looped(model, lambda m, b: entropy(m, b) + 0.1 * sum(p.square().sum() for p in HELD))


class Alias(nn.Module):
    """Holds a weight past its modules, as code that shares weights does."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 5)
        self.shared = [self.first.weight]
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return self.out(self.last(hidden) + hidden @ self.shared[0])


def shared_past_the_modules() -> Loop:
    return looped(Alias().double())


def flat_views() -> Loop:
    """Parameters that are views of one flat tensor."""
    model = mlp()
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    start = 0
    for parameter in model.parameters():
        parameter.data = flat[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    return looped(model, lambda m, b: entropy(m, b) + 0.0 * flat.sum())


def outside_the_optimizer() -> Loop:
    """Trainable parameters that nobody steps."""
    model = mlp()
    return looped(model, optimizer=torch.optim.SGD(model[2].parameters(), 0.1))


def outside_the_model() -> Loop:
    """A trained head that is no part of the model."""
    model, head = mlp(), nn.Linear(3, 3).double()
    optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], 0.1)

    def loss(m, b):
        return torch.nn.functional.cross_entropy(head(m(b[0])), b[1])

    loop = looped(model, loss, loss, optimizer)
    loop.held += list(head.parameters())
    return loop


FOLLOWED = {
    "penalty on parameters in a list": in_a_list,
    "parameters in a dict": in_a_dict,
    "parameter in a closure": in_a_closure,
    "parameter in a default": in_a_default,
    "parameter in a partial": in_a_partial,
    "parameters in an object": in_an_object,
    "parameters in a method's object": in_a_method,
    "weight shared past the modules": shared_past_the_modules,
    "parameters of a head outside the model": outside_the_model,
}
EITHER = {
    "parameters in a global": in_a_global,
    "parameters that are views": flat_views,
    "parameters outside the optimizer": outside_the_optimizer,
}
