"""Numbers and generators that the user's code carries from step to step."""

from __future__ import annotations

import itertools
import random

import numpy as np
import torch

from ..cases import entropy
from ..fuzz import wrappers
from ..fuzz.loops import Loop
from .networks import looped, mlp


def _scaled(number):
    """A loss whose weight is asked for at each call."""
    return looped(mlp(), lambda m, b: entropy(m, b) * (1 + number()))


def in_a_list() -> Loop:
    count = [0]

    def number():
        count[0] += 1
        return 1 / count[0]

    return _scaled(number)


def nonlocal_number() -> Loop:
    count = 0

    def number():
        nonlocal count
        count += 1
        return 1 / count

    return _scaled(number)


def function_attribute() -> Loop:
    def number():
        number.count += 1
        return 1 / number.count

    number.count = 0
    return _scaled(number)


class Annealed:
    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1
        return 1 / self.count


def attribute_of_an_object() -> Loop:
    return _scaled(Annealed())


def slotted() -> Loop:
    class Slotted:
        __slots__ = ("count",)

        def __init__(self):
            self.count = 0

        def __call__(self):
            self.count += 1
            return 1 / self.count

    return _scaled(Slotted())


def counted_by_itertools() -> Loop:
    numbers = itertools.count(1)
    return _scaled(lambda: 1 / next(numbers))


def in_an_array() -> Loop:
    count = np.zeros(1)

    def number():
        count[0] += 1
        return float(1 / count[0])

    return _scaled(number)


def in_a_tensor() -> Loop:
    count = torch.zeros((), dtype=torch.long)
    return _scaled(lambda: 1 / count.add_(1).double())


COUNT = [0]


def global_number() -> Loop:
    COUNT[0] = 0

    def number():
        COUNT[0] += 1
        return 1 / COUNT[0]

    return _scaled(number)


def torch_generator() -> Loop:
    generator = torch.Generator().manual_seed(3)
    return _scaled(lambda: torch.rand((), generator=generator))


def numpy_generator() -> Loop:
    generator = np.random.default_rng(3)
    return _scaled(lambda: generator.random())


def numpy_random_state() -> Loop:
    generator = np.random.RandomState(3)
    return _scaled(lambda: generator.rand())


def python_generator() -> Loop:
    generator = random.Random(3)
    return _scaled(lambda: generator.random())


def endless_iterator() -> Loop:
    scales = itertools.cycle([0.1, 0.5, 0.9])
    return _scaled(lambda: next(scales))


def generator_function() -> Loop:
    """A Python generator cannot be put back."""
    scales = (0.1 * k for k in itertools.count())
    return _scaled(lambda: next(scales))


def around(name: str):
    return lambda: looped(wrappers.MODELS[name](mlp()).double())


FOLLOWED = {
    "counter in a list": in_a_list,
    "counter, nonlocal": nonlocal_number,
    "counter as an attribute of a function": function_attribute,
    "counter as an attribute of an object": attribute_of_an_object,
    "counter in a slot": slotted,
    "counter in an array": in_an_array,
    "counter in a tensor": in_a_tensor,
    "generator of torch's": torch_generator,
    "generator of NumPy's": numpy_generator,
    "generator of NumPy's, the old one": numpy_random_state,
    "generator of Python's": python_generator,
    **{
        f"model with {name}": around(name)
        for name in (
            "a buffer that counts",
            "a buffer that is replaced",
            "a counter",
            "a counter of every call",
            "a torch generator",
            "a NumPy generator",
            "a Python generator",
            "an output kept",
        )
    },
}
EITHER = {
    "counter of itertools": counted_by_itertools,
    "counter in a global": global_number,
    "iterator of scales": endless_iterator,
    "generator function of scales": generator_function,
}
