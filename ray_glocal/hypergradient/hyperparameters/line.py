"""The line: coordinates of all hyperparameters side by side, those of one kind mapped together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ray_glocal.hypergradient.hyperparameters.binding import Binding
from ray_glocal.hypergradient.hyperparameters.coordinates import Coordinate, Simplex
from ray_glocal.hypergradient.tuning import SMALLEST
from ray_glocal.options import NEVER_ZERO


class Line:
    """Maps values of hyperparameters to the real line and back.

    Args:
        bindings: The hyperparameters, in order.
    """

    def __init__(self, bindings: Sequence[Binding]) -> None:
        self._hypers = [binding.hyperparameter for binding in bindings]
        self._sizes = [hyper.size for hyper in self._hypers]
        kinds: dict[object, tuple[Coordinate, list[int]]] = {}
        start = 0
        for place, hyper in enumerate(self._hypers):
            own = (place, hyper.coordinate) if isinstance(hyper.coordinate, Simplex) else hyper.coordinate
            kinds.setdefault(own, (hyper.coordinate, []))[1].extend(range(start, start + hyper.size))
            start += hyper.size
        self._kinds = [(kind, torch.tensor(places)) for kind, places in kinds.values()]
        self._lower, self._upper = (
            self._spread([getattr(h, name) for h in self._hypers]) for name in ("lower", "upper")
        )
        self._floor = self._spread([SMALLEST * (binding.field in NEVER_ZERO) for binding in bindings])

    def _spread(self, each: Sequence[float]) -> Tensor:
        """A number of each hyperparameter for each of its entries, shape [q]."""
        return torch.repeat_interleave(torch.tensor(each, dtype=torch.float64), torch.tensor(self._sizes))

    def of(self, values: Mapping[str, Tensor]) -> Tensor:
        """Coordinates of `values`, shape [q]."""
        flat = self._flat(values)
        line = torch.empty_like(flat)
        for kind, places in self._kinds:
            line[places] = kind.to_line(flat[places])
        return line

    def values(self, line: Tensor, *, clip: bool = True) -> dict[str, Tensor]:
        """Values at coordinates `line` [q], by default clipped to their bounds."""
        flat = torch.empty_like(line)
        for kind, places in self._kinds:
            flat[places] = kind.to_value(line[places])
        if clip:
            flat = torch.minimum(torch.maximum(flat, self._lower), self._upper)
            flat = torch.where(flat == 0, self._floor, flat)
        pieces = torch.split(flat, self._sizes)
        return {h.name: piece.reshape(h.value.shape) for h, piece in zip(self._hypers, pieces, strict=True)}

    def pull_back(self, values: Mapping[str, Tensor], derivative: Tensor) -> Tensor:
        """Derivatives on the line from derivatives in the values, both [..., q]."""
        flat, pulled = self._flat(values), torch.empty_like(derivative)
        for kind, places in self._kinds:
            pulled[..., places] = kind.pull_back(flat[places], derivative[..., places])
        return pulled

    def _flat(self, values: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([values[hyper.name].reshape(-1) for hyper in self._hypers])
