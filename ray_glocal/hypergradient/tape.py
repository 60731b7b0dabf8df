"""Inner steps that keep their graph: a window of them is differentiated without being run a second time.

The optimizer writes into the parameters that a graph would need, and batch normalisation into its buffers. So the step
is taken on copies in their place: of the parameters those that the snapshot holds anyway.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ray_glocal.hypergradient.problem import Problem, Snapshot, Values
from ray_glocal.hypergradient.step import GradientField

MEMORY = 2**30  # bytes

logger = logging.getLogger(__name__)


class Tape:
    """Takes the inner steps of windows, and keeps their graphs where that changes nothing and fits the memory.

    Whether it does is found out at the first step: its graph is measured, and its loss and gradients are compared with
    those of the plain step, bit for bit. They differ where a kernel that can be differentiated twice takes the place of
    a fused one, or where parameters hide from the model's modules; such steps are taken plainly and run again.

    Args:
        problem: The bilevel problem.
        window: Steps of the longest window.
        memory: Bytes that the graphs of a window may take.
    """

    def __init__(self, problem: Problem, window: int, memory: int = MEMORY) -> None:
        self._problem, self._window, self._memory = problem, window, memory
        self.keeps: bool | None = None  # whether graphs are kept; None before the first step

    def step(self, batch: Any, values: Values) -> tuple[Snapshot, Tensor]:
        """Take one inner step; its record and the detached training loss before it.

        Raises:
            ArgumentError: `train_loss` is not a scalar that depends on the parameters.
        """
        problem = self._problem
        snapshot = problem.snapshot(batch, values)
        if self.keeps is None:
            self.keeps = self._fits(snapshot)
        if not self.keeps:
            return snapshot, problem.advance(batch, values)
        field = taped(problem, snapshot)
        problem.optimizer.zero_grad()
        for parameter, gradient in zip(problem.parameters, field.gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.detach().clone()
        problem.optimizer.step()
        return replace(snapshot, field=field), field.loss.detach()

    def _fits(self, snapshot: Snapshot) -> bool:
        """Try the step both ways, and leave everything as it was."""
        problem = self._problem
        with problem.preserved(), measured() as held:
            field = taped(problem, snapshot)
            kept = {parameter.untyped_storage().data_ptr() for parameter in field.parameters}
        size = sum(count for place, count in held.items() if place not in kept)
        with problem.preserved():
            loss = problem.train(snapshot.batch, problem.leaves(snapshot.values, differentiable=False))
            plain = torch.autograd.grad(loss, problem.parameters, allow_unused=True)
        alike = _same([field.loss, *field.gradients], [loss, *plain])
        if alike and size * self._window <= self._memory:
            return True
        why = f"{self._window} graphs of {size:.3g} bytes exceed {self._memory:.3g}"
        logger.info("Windows are run a second time to be differentiated: %s.", why if alike else "kernels differ")
        return False


def taped(problem: Problem, snapshot: Snapshot) -> GradientField:
    """The gradient of an inner step that is about to be taken, with a graph that outlives the step."""
    with standing_in(problem, snapshot) as copies:
        return GradientField.of(problem, snapshot, copies)


@contextmanager
def standing_in(problem: Problem, snapshot: Snapshot) -> Iterator[tuple[Tensor, ...]]:
    """Put a snapshot's parameters, and copies of the buffers, into the modules; the buffers keep what is written."""
    copies = tuple(nn.Parameter(kept) for kept in snapshot.state.parameters)
    own: dict[int, Tensor] = {id(live): copy for live, copy in zip(problem.parameters, copies, strict=True)}
    places = [
        (module, name, live)
        for module in problem.model.modules()
        for name, live in (*module._parameters.items(), *module._buffers.items())
        if live is not None and (id(live) in own or name in module._buffers)
    ]
    own |= {id(live): live.clone() for module, name, live in places if id(live) not in own}
    for module, name, live in places:
        setattr(module, name, own[id(live)])
    try:
        yield copies
    finally:
        for module, name, live in places:
            setattr(module, name, live)
            if name in module._buffers:
                live.copy_(own[id(live)])


@contextmanager
def measured() -> Iterator[dict[int, int]]:
    """Bytes that graphs hold of each storage, by its place in memory."""
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    unpack: Callable[[Tensor], Tensor] = lambda tensor: tensor  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(keep, unpack):
        yield held


def _same(found: Sequence[Tensor | None], plain: Sequence[Tensor | None]) -> bool:
    """Whether two lists of tensors agree bit for bit, NaN with NaN."""
    return all(
        a is b if a is None or b is None else torch.equal(a.detach().nan_to_num(), b.detach().nan_to_num())
        for a, b in zip(found, plain, strict=True)
    )
