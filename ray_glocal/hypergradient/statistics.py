"""Running statistics of batch normalisation: torch updates and reads them outside the graph; here both are inside it.

They belong to the inner state like parameters do: where validation reads them, a hypergradient without their part can
have the wrong sign.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ray_glocal.hypergradient.kernels import moments


@dataclass(frozen=True)
class Reading:
    """One batch that a normalisation saw in training, and the weight it has in the running statistics."""

    module: _BatchNorm
    batch: Tensor
    weight: float


def tracked(model: nn.Module) -> list[_BatchNorm]:
    """Modules of a model that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def running(norms: Sequence[_BatchNorm]) -> list[Tensor]:
    """Copies of all running means and variances, module after module."""
    found = [t for m in norms for t in (m.running_mean, m.running_var)]
    return [t.detach().clone() for t in found if t is not None]


@contextmanager
def readings(norms: Sequence[_BatchNorm]) -> Iterator[list[Reading]]:
    """Collect what enters the running statistics while the model runs."""
    seen: list[Reading] = []

    def record(module: nn.Module, args: tuple[Any, ...], _: Tensor) -> None:
        assert isinstance(module, _BatchNorm)
        if module.training:
            assert module.num_batches_tracked is not None
            # Without a momentum all batches so far count alike.
            weight = 1.0 / float(module.num_batches_tracked) if module.momentum is None else module.momentum
            seen.append(Reading(module, args[0], weight))

    with _hooked(norms, record):
        yield seen


def updated(norms: Sequence[_BatchNorm], before: Sequence[Tensor], seen: Sequence[Reading]) -> list[Tensor]:
    """Running statistics after the readings, with their graph, from those before."""
    place = {module: 2 * index for index, module in enumerate(norms)}
    after = list(before)
    for reading in seen:
        i = place[reading.module]
        variance, mean = moments(reading.batch.to(before[0].dtype))
        after[i] = (1 - reading.weight) * after[i] + reading.weight * mean
        after[i + 1] = (1 - reading.weight) * after[i + 1] + reading.weight * variance
    return after


@contextmanager
def read_from(norms: Sequence[_BatchNorm], leaves: Sequence[Tensor]) -> Iterator[None]:
    """Let normalisations in eval mode read `leaves` in place of their buffers, so that derivatives reach them."""
    place = {module: 2 * index for index, module in enumerate(norms)}

    def normalise(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        assert isinstance(module, _BatchNorm)
        if module.training:
            return output
        batch, i = args[0], place[module]
        shape = (-1, *(1 for _ in range(batch.ndim - 2)))
        scale = (leaves[i + 1] + module.eps).rsqrt() * (1.0 if module.weight is None else module.weight)
        result = (batch - leaves[i].reshape(shape)) * scale.reshape(shape)
        shifted: Tensor = result if module.bias is None else result + module.bias.reshape(shape)
        return shifted.to(output.dtype)

    with _hooked(norms, normalise):
        yield


@contextmanager
def _hooked(norms: Sequence[_BatchNorm], hook: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
