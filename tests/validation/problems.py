"""Small problems in double precision, and their data, for the tests of the validation."""

import random

import numpy as np
import torch
import torch.nn.functional as F

from ray_glocal.hypergradient import Hyperparameter, Problem

ADAPTED = {
    "lr": lambda lr: Hyperparameter("lr", lr, 1e-6, 1e30, "log"),
    "weight_decay": lambda lr: Hyperparameter("weight_decay", 1e-2, 1e-6, 1.0, "log"),
    "momentum": lambda lr: Hyperparameter("momentum", 0.8, 0.0, 0.99, "logit"),
}


def network(activation=torch.nn.GELU, width=8):
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, width), activation(), torch.nn.Linear(width, 3)).double()


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def stream(seed, count, size=8):
    """Batches of three overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        labels = torch.randint(3, (size,), generator=generator)
        noise = torch.randn(size, 4, generator=generator, dtype=torch.float64)
        yield noise + F.one_hot(labels, 4), labels


def optimizer_of(model, name, lr=0.1):
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.8, weight_decay=1e-2)
    return torch.optim.AdamW(model.parameters(), lr=lr / 10, betas=(0.8, 0.99), weight_decay=1e-2)


def problem_of(model, name, lr=0.1, names=tuple(ADAPTED)):
    start = lr if name == "sgd" else lr / 10
    hyper = []
    for told in names:
        made = ADAPTED[told](start)
        if told == "momentum" and name == "adamw":
            made = Hyperparameter("beta1", 0.8, 0.0, 0.99, "logit")
        hyper.append(made)
    return Problem(model, optimizer_of(model, name, lr), loss, loss, hyper)


def digest(problem):
    """Everything that a run of the problem depends on, comparable by ==."""
    state = problem.optimizer.state_dict()
    tensors = [*problem.model.state_dict().values(), torch.get_rng_state()]
    tensors += [value for held in state["state"].values() for value in held.values() if torch.is_tensor(value)]
    grads = [p.grad for p in problem.parameters]
    groups = [sorted(group.items()) for group in state["param_groups"]]
    numbers = repr((groups, random.getstate(), np.random.get_state()[1].tolist(), grads))  # noqa: NPY002
    return [tensor.tolist() for tensor in tensors], numbers


def plain(case):
    """Everything that a case holds, comparable by ==."""
    return {name: np.asarray(value).tolist() for name, value in vars(case).items()}
