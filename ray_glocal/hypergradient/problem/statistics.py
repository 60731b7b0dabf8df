"""Running statistics of batch and instance normalisation: torch updates and reads them outside the graph.

Here both are inside it. They belong to the inner state like parameters do: where validation reads them, a hypergradient
without their part can have the wrong sign. They are known by the buffers that torch's functions are called with, so
that it does not matter who calls them: a module of torch's, a subclass, or a model's own forward.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ray_glocal.hypergradient._compat import entered, held_buffers
from ray_glocal.hypergradient.kernels import moments

ARGUMENTS = ("input", "weight", "bias", "running_mean", "running_var", "use_input_stats", "momentum", "eps")
FUNCTIONS = frozenset({torch.batch_norm, torch.instance_norm})
COMPOSITES = frozenset({F.batch_norm, F.instance_norm, torch.autograd.grad})  # which call them


@dataclass(frozen=True)
class Running:
    """A running mean and a running variance, buffers of a model."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True)
class BatchStatistics:
    """One batch that a normalisation saw in training, and the weight that it has in the running statistics.

    Args:
        place: Which of the running statistics.
        batch: What was normalised, [batch, channel, ...].
        weight: Of the batch's moments in the statistics after it.
        each: Whether every example has moments of its own, whose means are taken.
    """

    place: int
    batch: Tensor
    weight: float
    each: bool


def tracked(model: nn.Module) -> list[Running]:
    """Running statistics of a model's modules, by the names that all of torch's give them, each once."""
    held = [held_buffers(module) for module in model.modules()]
    pairs = [(own.get("running_mean"), own.get("running_var")) for own in held]
    found = {id(mean): Running(mean, var) for mean, var in pairs if mean is not None and var is not None}
    return list(found.values())


def running(statistics: Sequence[Running]) -> list[Tensor]:
    """Copies of all means and variances, pair after pair."""
    return [t.detach().clone() for pair in statistics for t in (pair.mean, pair.variance)]


class _Normalisations(TorchFunctionMode):
    """Sees every call of a normalisation with running statistics, from whatever function of torch's it comes."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in COMPOSITES:
            with self:
                return entered(func)(*args, **kwargs)
        if func not in FUNCTIONS:
            args, kwargs = self.passed(func, args, kwargs)
            return func(*args, **kwargs)
        arguments = dict(zip(ARGUMENTS, args, strict=False)) | kwargs
        arguments["use_input_stats"] = arguments.pop("training", arguments.get("use_input_stats"))
        if arguments["running_mean"] is None:
            return func(*args, **kwargs)
        return self.called(func, arguments, lambda: func(*args, **kwargs))

    def called(self, func: Any, arguments: Mapping[str, Any], usual: Any) -> Any:
        """What the call returns."""
        raise NotImplementedError

    def passed(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments that any other call gets."""
        return args, kwargs


class Readings(_Normalisations):
    """Collects what enters the running statistics while a model runs.

    Args:
        statistics: Those that are known.
    """

    def __init__(self, statistics: Sequence[Running]) -> None:
        super().__init__()
        self.places = {id(tensor): i for i, pair in enumerate(statistics) for tensor in (pair.mean, pair.variance)}
        self.seen: list[BatchStatistics] = []

    def called(self, func: Any, arguments: Mapping[str, Any], usual: Any) -> Any:
        """The usual result; in training, a reading."""
        place = self.places.get(id(arguments["running_mean"]))
        if arguments["use_input_stats"] and place is not None:
            self.seen.append(
                BatchStatistics(place, arguments["input"], float(arguments["momentum"]), func is torch.instance_norm)
            )
        return usual()


class Exploration(Readings):
    """Finds out which running statistics there are, and which of them a training loss reads itself.

    Derivatives do not pass through those: they are as other buffers.
    """

    def __init__(self, statistics: Sequence[Running]) -> None:
        super().__init__(statistics)
        self.unknown: list[Running] = []
        self.read: set[int] = set()  # places

    def called(self, func: Any, arguments: Mapping[str, Any], usual: Any) -> Any:
        """The usual result."""
        place = self.places.get(id(arguments["running_mean"]))
        if not arguments["use_input_stats"]:
            self.read |= set() if place is None else {place}
        elif place is None:
            self.unknown.append(Running(arguments["running_mean"], arguments["running_var"]))
        return usual()

    def passed(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Note whether statistics are among the arguments of any other call."""
        self.read |= {self.places[id(each)] for each in _flat((args, kwargs)) if id(each) in self.places}
        return args, kwargs


@contextmanager
def readings(statistics: Sequence[Running]) -> Iterator[list[BatchStatistics]]:
    """Collect what enters running statistics while the model runs; of a model that has none, nothing."""
    if not statistics:
        yield []
        return
    with Readings(statistics) as mode:
        yield mode.seen


def updated(before: Sequence[Tensor], seen: Sequence[BatchStatistics]) -> list[Tensor]:
    """Running statistics after the readings, with their graph, from those before."""
    after = list(before)
    for reading in seen:
        i = 2 * reading.place
        variance, mean = _moments(reading, before[0].dtype)
        after[i] = (1 - reading.weight) * after[i] + reading.weight * mean
        after[i + 1] = (1 - reading.weight) * after[i + 1] + reading.weight * variance
    return after


def _moments(reading: BatchStatistics, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    batch = reading.batch.to(dtype)
    if not reading.each:
        return moments(batch)
    variance, mean = torch.var_mean(batch.flatten(2), -1)
    return variance.mean(0), mean.mean(0)


def _flat(value: Any) -> Iterator[Any]:
    """What arguments hold, lists and tuples opened."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _flat(each)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _writes(func: Any) -> bool:
    """Whether a function of torch's writes into its first argument, going by its name."""
    name = getattr(func, "__name__", "")
    return name.startswith(("__i", "__set")) or (name.endswith("_") and not name.endswith("__"))


class _Leaves(_Normalisations):
    """Lets whoever reads running statistics read leaves of a graph in their place."""

    def __init__(self, statistics: Sequence[Running], leaves: Sequence[Tensor]) -> None:
        super().__init__()
        self._leaves = {id(pair.mean): (leaves[2 * i], leaves[2 * i + 1]) for i, pair in enumerate(statistics)}
        held = [tensor for pair in statistics for tensor in (pair.mean, pair.variance)]
        self._each = {id(tensor): leaf for tensor, leaf in zip(held, leaves, strict=True)}

    def called(self, func: Any, arguments: Mapping[str, Any], usual: Any) -> Any:
        """The same, differentiable in the statistics."""
        leaves = self._leaves.get(id(arguments["running_mean"]))
        if arguments["use_input_stats"] or leaves is None:
            return usual()
        batch, weight, bias = arguments["input"], arguments["weight"], arguments["bias"]
        shape = (-1, *(1 for _ in range(batch.ndim - 2)))
        scale = (leaves[1] + arguments["eps"]).rsqrt() * (1.0 if weight is None else weight)
        result = (batch - leaves[0].reshape(shape)) * scale.reshape(shape)
        shifted: Tensor = result if bias is None else result + bias.reshape(shape)
        return shifted.to(batch.dtype)

    def passed(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The same, leaves among them."""
        return (args, kwargs) if _writes(func) else (self._replaced(args), self._replaced(kwargs))

    def _replaced(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            return type(value)(self._replaced(each) for each in value)
        if type(value) is dict:
            return {key: self._replaced(each) for key, each in value.items()}
        return self._each.get(id(value), value)


def read_from(statistics: Sequence[Running], leaves: Sequence[Tensor]) -> AbstractContextManager[object]:
    """Let a model in eval mode read `leaves` in place of running statistics, so that derivatives reach them."""
    return _Leaves(statistics, leaves) if statistics else nullcontext()
