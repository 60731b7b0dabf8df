"""Averaged weights: exponential averages over the last parts of training, which foretell what annealing will leave.

Polyak and Juditsky 1992; Izmailov et al. 2018 (arXiv:1803.05407). An average over the last sixth of the steps so far
ranks trainings by their end far better than the weights themselves do; the one over the last twenty-fourth is ahead of
it in the direction in which training has gone lately.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ray_glocal.hypergradient._compat import foreach_lerp_, foreach_sub
from ray_glocal.hypergradient.first_order.tuning import EVERY, FAR, NEAR, SHORTEST
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.state.copies import copied, write

HALVES = (torch.bfloat16, torch.float16)


def weight(part: int, step: int) -> float:
    """Share of the present weights in an average over a part of the steps so far, when it is updated after `step`."""
    return min(1.0, EVERY / max(SHORTEST[part], step / part))


class Averages:
    """Two averages of what trains: its parameters, and the running statistics of its normalisations.

    Args:
        problem: The bilevel problem; both averages begin at its present weights.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._own: list[Tensor] = []
        self.near: list[Tensor] = []
        self.far: list[Tensor] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew at the present weights: those before are not on the way to them."""
        self._own = self._tracked()
        self.near, self.far = _started(self._own), _started(self._own)
        self._group()

    def update(self, step: int) -> None:
        """Take the weights after `step` inner steps in, if it is their turn."""
        if step % EVERY == 0:  # ahead of all else, for this is asked at every step
            self._take(step)

    @torch.no_grad()
    def _take(self, step: int) -> None:
        if not self._still():
            self._follow()
        near, far = weight(NEAR, step), weight(FAR, step)
        for own, nearer, farther in self._groups:
            own = own if own[0].dtype == nearer[0].dtype else [tensor.to(nearer[0]) for tensor in own]
            foreach_lerp_(nearer, own, near)
            foreach_lerp_(farther, own, far)

    def _tracked(self) -> list[Tensor]:
        statistics = [tensor for pair in self._problem.statistics for tensor in (pair.mean, pair.variance)]
        return [*self._problem.parameters, *statistics]

    def _still(self) -> bool:
        """Whether what trains is what trained; parameters may thaw, and statistics appear with the first batch."""
        return self._problem.parameters is self._known[0] and self._problem.statistics is self._known[1]

    def _follow(self) -> None:
        """Go on with what is known already, and begin with the rest."""
        held = {id(own): (near, far) for own, near, far in zip(self._own, self.near, self.far, strict=True)}
        self._own = self._tracked()
        pairs = [held.get(id(t)) or (_started([t])[0], _started([t])[0]) for t in self._own]
        self.near, self.far = [near for near, _ in pairs], [far for _, far in pairs]
        self._group()

    def _group(self) -> None:
        """Put together what torch updates together: tensors of one device and precision."""
        self._known = self._problem.parameters, self._problem.statistics
        kinds: dict[object, list[int]] = {}
        for place, tensor in enumerate(self._own):
            kinds.setdefault((tensor.device, tensor.dtype), []).append(place)
        self._groups = [
            ([self._own[p] for p in some], [self.near[p] for p in some], [self.far[p] for p in some])
            for some in kinds.values()
        ]

    def displacement(self) -> list[Tensor]:
        """Where training has gone lately: the nearer average of each parameter less the farther one."""
        count = len(self._problem.parameters)
        return list(foreach_sub(self.near[:count], self.far[:count]))

    @staticmethod
    def span(step: int) -> float:
        """Steps that lie between the two averages of a training that moves steadily."""
        return max(float(EVERY), step * (1 / (FAR + 1) - 1 / (NEAR + 1)))

    @contextmanager
    def applied(self) -> Iterator[tuple[Tensor, ...]]:
        """Let the model have the farther average, its own weights again afterwards, and meanwhile say what they are."""
        if not self._still():
            self._follow()
        held = copied(self._own)
        write(self._own, self.far)
        try:
            yield tuple(held[: len(self._problem.parameters)])
        finally:
            write(self._own, held)

    def state_dict(self) -> dict[str, Tensor]:
        """The model's state dictionary with the averaged weights in it; what is not averaged as it is."""
        averages = {id(own): average for own, average in zip(self._own, self.far, strict=True)}
        named = self._problem.model.state_dict(keep_vars=True)
        return {name: averages.get(id(value), value).detach().to(value.dtype) for name, value in named.items()}

    def as_plain(self, *, beside: bool) -> dict[str, Any]:
        """Both averages, as plain data.

        Args:
            beside: Whether `state_dict` is kept beside them: what it holds in full is left out.
        """
        pairs = zip(self._own, self.far, strict=True)
        far = [None if beside and own.dtype == average.dtype else average for own, average in pairs]
        return {"near": list(self.near), "far": far}

    def load_plain(self, plain: Mapping[str, Any], beside: Mapping[str, Tensor] | None) -> None:
        """Inverse of `as_plain`, the model being the one that was saved; `beside` is what was kept beside it."""
        self.restart()
        names = {id(value): name for name, value in self._problem.model.state_dict(keep_vars=True).items()}
        kept = zip(self._own, plain["far"], strict=True)
        far = [(beside or {})[names[id(own)]] if average is None else average for own, average in kept]
        write(self.near, plain["near"])
        write(self.far, far)


def _started(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Averages that begin at some tensors; of half precision in single, for steps so small would be rounded away."""
    wide = [tensor.detach().float() if tensor.dtype in HALVES else tensor.detach() for tensor in tensors]
    return copied(wide)
