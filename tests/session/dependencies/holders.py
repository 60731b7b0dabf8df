"""State of the user's own in places other than lists and closures: all must be put back, or said."""

from __future__ import annotations

import argparse
import collections
import types
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ..cases import entropy
from ..fuzz.loops import Loop
from .networks import data, looped, mlp


def _scaled(number: Callable[[], float]) -> Loop:
    return looped(mlp(), lambda m, b: entropy(m, b) * (1 + number()))


def _namespace(kind: Callable[..., Any]) -> Callable[[], Loop]:
    def build() -> Loop:
        state = kind(count=0)

        def number() -> float:
            state.count += 1
            return 1 / state.count

        return _scaled(number)

    return build


class Counted:
    count: ClassVar[int] = 0

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        Counted.count += 1
        return entropy(model, batch) * (1 + 1 / Counted.count)


def attribute_of_a_class() -> Loop:
    Counted.count = 0
    return looped(mlp(), Counted())


calls = 0
mean = torch.ones(())
names: tuple[str, ...] = ()


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()

    def forward(self, x: Tensor) -> Tensor:
        global calls
        calls += 1
        return self.inner(x) * (1 + 1 / calls)


def global_of_a_forward_pass() -> Loop:
    global calls
    calls = 0
    return looped(Counting())


def tensor_that_a_global_is_bound_to() -> Loop:
    global mean
    mean = torch.ones(()).double()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        global mean
        mean = 0.9 * mean + 0.3
        return entropy(model, batch) * mean

    return looped(mlp(), loss)


def tuple_that_a_global_is_bound_to() -> Loop:
    global names
    names = ()

    def number() -> float:
        global names
        names = (*names, "step")
        return 1 / len(names)

    return _scaled(number)


def in_a_set() -> Loop:
    seen: set[int] = set()

    def number() -> float:
        seen.add(len(seen))
        return 1 / len(seen)

    return _scaled(number)


def _first_of(counts: Any) -> Callable[[], float]:
    def number() -> float:
        counts[0] += 1
        return 1 / float(counts[0])

    return number


def in_a_long_list() -> Loop:
    return _scaled(_first_of([0] * 5000))


def in_a_long_dictionary() -> Loop:
    return _scaled(_first_of(dict.fromkeys(range(5000), 0)))


def in_a_full_queue() -> Loop:
    queue = collections.deque(range(1, 2001), maxlen=2000)

    def number() -> float:
        queue.append(queue[-1] + 100)
        return 1000 / queue[-1]

    return _scaled(number)


def attribute_of_a_module_of_torch() -> Loop:
    model = mlp()
    model.counts = [0]  # type: ignore[assignment]
    number = _first_of(model.counts)
    return looped(model, lambda m, b: entropy(m, b) * (1 + number()))


# ---- said ----


def in_a_large_array() -> Loop:
    return _scaled(_first_of(np.zeros(5000)))


def loader_of_other_batches() -> Loop:
    pairs = data()
    inputs, labels = (torch.cat([pair[place] for pair in pairs]) for place in (0, 1))
    others = iter(DataLoader(TensorDataset(inputs, labels), 4))
    return looped(mlp(), lambda m, b: entropy(m, b) + entropy(m, next(others)))


def _weighed(weight: Callable[[], float], learn: Callable[[float], object]) -> Loop:
    """A loss that is weighed by what the steps before have come to, and no derivative goes through that."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        found, by = entropy(model, batch), weight()
        learn(found.item())
        return found * by

    return looped(mlp(), loss)


def mean_loss_in_a_number() -> Loop:
    state = {"mean": 1.0}
    return _weighed(lambda: state["mean"], lambda loss: state.update(mean=0.5 * state["mean"] + 0.5 * loss))


def mean_loss_in_an_array() -> Loop:
    state = np.ones(1)
    return _weighed(lambda: float(state[0]), lambda loss: np.copyto(state, 0.5 * state + 0.5 * loss))


def last_loss_in_a_list() -> Loop:
    losses = [1.0]
    return _weighed(lambda: losses[-1], losses.append)


def history_that_nobody_reads() -> Loop:
    losses: list[float] = []
    return _weighed(lambda: 1.0, losses.append)


class Directed(nn.Module):
    """Its outputs grow by a unit vector that follows them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp()
        self.register_buffer("direction", nn.functional.normalize(torch.ones(3).double(), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(x)
        told = found * (1 + self.direction.sum())
        if self.training:
            with torch.no_grad():
                self.direction = nn.functional.normalize(0.5 * self.direction + 0.5 * found.mean(0), dim=0)
        return told


def unit_vector_that_follows() -> Loop:
    return looped(Directed())


class Annealed:
    def __init__(self) -> None:
        self.weight = 0.1

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        return entropy(model, batch) * self.weight

    def rise(self) -> None:
        self.weight += 0.1


def number_that_the_loop_sets() -> Loop:
    loss = Annealed()
    return looped(mlp(), loss, after=[loss.rise])


FOLLOWED = {
    "counter in a simple namespace": _namespace(types.SimpleNamespace),
    "counter in parsed arguments": _namespace(argparse.Namespace),
    "counter of a class": attribute_of_a_class,
    "global counter of a forward pass": global_of_a_forward_pass,
    "global bound to other tensors": tensor_that_a_global_is_bound_to,
    "global bound to other tuples": tuple_that_a_global_is_bound_to,
    "set that grows": in_a_set,
    "counter in a long list": in_a_long_list,
    "counter in a long dictionary": in_a_long_dictionary,
    "full queue": in_a_full_queue,
    "list that hangs on a module of torch": attribute_of_a_module_of_torch,
    "history of losses that nobody reads": history_that_nobody_reads,
}
EITHER = {
    "weight that the loop anneals": number_that_the_loop_sets,
    "counter in a large array": in_a_large_array,
    "loader of other batches": loader_of_other_batches,
    "mean loss in a number": mean_loss_in_a_number,
    "mean loss in an array": mean_loss_in_an_array,
    "last loss in a list": last_loss_in_a_list,
    "unit vector that follows outputs": unit_vector_that_follows,
}
