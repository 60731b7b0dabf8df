"""Hooks of parameters, which change the gradient that trains them, and nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from ray_glocal.hypergradient._compat import accumulation_hooks, gradient_hooks


@contextmanager
def without_hooks(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Leave out the hooks of parameters: of validation gradients, and of what is pulled back through training ones."""
    held = [(hooks, dict(hooks)) for p in parameters if (hooks := gradient_hooks(p)) is not None]
    for hooks, _ in held:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, own in held:
            hooks.update(own)


def waiting(parameters: Sequence[Tensor]) -> bool:
    """Whether hooks wait for accumulated gradients, which only a plain backward pass calls."""
    return any(accumulation_hooks(parameter) for parameter in parameters)
