"""Records the inner steps of windows: what is kept of each, and so what differentiating them will cost.

The optimizer writes into the parameters that a graph would need, and batch normalisation into its buffers. So a step
whose graph is kept is taken on copies in their place: of the parameters those that the snapshot holds anyway.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient import heap
from ray_glocal.hypergradient.differences import calibrated
from ray_glocal.hypergradient.field import GradientField
from ray_glocal.hypergradient.problem import Problem
from ray_glocal.hypergradient.products import EXACT, Products
from ray_glocal.hypergradient.replay import first_derivatives
from ray_glocal.hypergradient.state import Slope, Snapshot, Values, copied, pinned

MEMORY = 2**30  # bytes; on a GPU half of what is free
HOST_MEMORY = 2**33
SLACK = {torch.float64: 1e-8, torch.float32: 1e-3}  # by which a model that runs eagerly may differ from itself compiled
HALF_SLACK = 5e-2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keeping:
    """What is kept of the steps of a window.

    Args:
        graphs: Whether their graphs are.
        stride: Steps from one state that is kept to the next; those between are run again from there.
        pinned: Whether states lie in page-locked memory of the host.
        products: Where Hessian products will come from.
        slopes: Whether first derivatives are.
    """

    graphs: bool
    stride: int = 1
    pinned: bool = False
    products: Products = EXACT
    slopes: bool = False

    @property
    def again(self) -> float:
        """Passes by which a step is run again when it is differentiated, beyond that of its Hessian product."""
        return 0.0 if self.graphs else float(self.products is EXACT) + (self.stride > 1)


class Tape:
    """Takes the inner steps of windows, and decides at the first of them what is kept.

    Graphs are, where they fit the memory and change nothing: loss and gradients are compared with those of the plain
    step, bit for bit. They differ where a kernel that can be differentiated twice takes the place of a fused one, or
    where parameters hide from the model's modules; such steps are taken plainly and run again. Where not even a
    window's states fit, they go to the host, and where that is too small as well, all but every so many are given up
    and computed again.

    Args:
        problem: The bilevel problem.
        window: Steps of the longest window.
        memory: Bytes that a window may take on the device of the parameters; None for 1 GiB, or half of what is free
            on a GPU.
        host_memory: Bytes that the states of a window may take in page-locked memory beside a GPU.
        products: `exact`, or `differences`: one more gradient in place of a Hessian product, by any kernels; for smooth
            models in single precision or better, and only where a check on the first step finds them close.
    """

    def __init__(
        self,
        problem: Problem,
        window: int,
        memory: int | None = None,
        host_memory: int = HOST_MEMORY,
        *,
        products: Literal["exact", "differences"] = "exact",
    ) -> None:
        self._problem, self._window, self._memory, self._host = problem, window, memory, host_memory
        self._differences = products == "differences"
        heap.hold()
        self.keeping: Keeping | None = None  # settled at the first step

    @property
    def products(self) -> Products:
        """Where Hessian products come from."""
        return EXACT if self.keeping is None else self.keeping.products

    def step(self, batch: Any, values: Values, place: int) -> tuple[Snapshot, Tensor]:
        """Take one inner step; its record and the detached training loss before it.

        Args:
            batch: The step's batch.
            values: Hyperparameter values.
            place: Steps of the window that were taken before.

        Raises:
            ArgumentError: `train_loss` is not a scalar that depends on the parameters, or a compiled model computes
                something else than the same one run eagerly.
        """
        problem = self._problem
        if self.keeping is None:
            self.keeping = self._settled(problem.snapshot(batch, values, problem.capture()))
        keep = pinned if self.keeping.pinned else copied
        state = problem.capture(keep) if place % self.keeping.stride == 0 else None
        snapshot = problem.snapshot(batch, values, state)
        return self._kept(snapshot) if self.keeping.graphs else self._plain(snapshot, self.keeping.slopes)

    def _kept(self, snapshot: Snapshot) -> tuple[Snapshot, Tensor]:
        problem = self._problem
        field = taped(problem, snapshot)
        problem.optimizer.zero_grad()
        gradients = [None if g is None else g.detach() for g in field.gradients]
        slope = None
        if problem.ranks.count > 1:
            joined = iter(problem.ranks.mean([g for g in gradients if g is not None]))
            gradients = [None if g is None else next(joined) for g in gradients]
            slope = Slope(tuple(gradients), {})
        for parameter, gradient in zip(problem.parameters, gradients, strict=True):
            # Clipping writes into gradients, and the graph needs its own.
            parameter.grad = gradient if gradient is None or problem.clipping is None else gradient.clone()
        problem.take_step()
        return replace(snapshot, field=field, slope=slope), field.loss.detach()

    def _plain(self, snapshot: Snapshot, slopes: bool) -> tuple[Snapshot, Tensor]:
        problem = self._problem
        leaves = problem.leaves(snapshot.values, differentiable=slopes)
        loss, slope = problem.differentiate(snapshot.batch, leaves), None
        if slopes:
            gradients = tuple(None if p.grad is None else p.grad.clone() for p in problem.parameters)
            names = [name for name, leaf in leaves.items() if leaf.grad is not None]
            scaled = [g / snapshot.scale for name in names if (g := leaves[name].grad) is not None]
            slope = Slope(gradients, dict(zip(names, problem.ranks.mean(scaled), strict=True)))
        return replace(snapshot, slope=slope, taken=problem.take_step()), loss

    def _settled(self, snapshot: Snapshot) -> Keeping:
        """Try the step in every way, leave everything as it was, and choose."""
        problem = self._problem
        memory = self._memory if self._memory is not None else _free(problem.parameters[0].device)
        memory = int(problem.ranks.agreed(memory))
        several = problem.accumulate > 1 or problem.ranks.count > 1
        with problem.preserved():
            slope = first_derivatives(problem, snapshot)
        if self._differences:
            with problem.preserved():
                products = calibrated(problem, replace(snapshot, slope=slope))
            if products is not EXACT:
                return self._stored(snapshot, memory, products, slopes=True)
        alike, graph = self._compared(snapshot, slope)
        size = (graph + snapshot.start.nbytes) * self._window
        if problem.ranks.unanimous(alike and size <= memory and problem.scaler is None):
            return Keeping(graphs=True)
        why = f"{self._window} graphs of {graph:.3g} bytes exceed {memory:.3g}" if alike else "kernels differ"
        logger.info("Windows are run a second time to be differentiated: %s.", why)
        return self._stored(snapshot, memory, EXACT, slopes=several)

    def _stored(self, snapshot: Snapshot, memory: int, products: Products, slopes: bool) -> Keeping:
        """Where the states of a window go that keeps no graphs."""
        gradients = sum(p.nbytes for p in self._problem.parameters) if slopes else 0
        size = (snapshot.start.nbytes + gradients) * self._window
        if size <= memory:
            return Keeping(graphs=False, products=products, slopes=slopes)
        if self._problem.parameters[0].is_cuda and snapshot.start.nbytes * self._window <= self._host:
            return Keeping(graphs=False, pinned=True, products=products, slopes=slopes)
        stride = math.isqrt(self._window - 1) + 1
        logger.info("Windows of %.3g bytes exceed the memory: %d steps are run again at a time.", size, stride)
        return Keeping(graphs=False, stride=stride, products=products, slopes=slopes)

    def _compared(self, snapshot: Snapshot, slope: Slope) -> tuple[bool, int]:
        """Whether the step is the same with a graph as without, and what its graph takes, in bytes."""
        problem = self._problem
        with problem.preserved(), measured() as held:
            field = taped(problem, snapshot)
            kept = {parameter.untyped_storage().data_ptr() for parameter in field.parameters}
        size = sum(count for place, count in held.items() if place not in kept)
        if not problem.ranks.unanimous(_outlives(problem, field)):
            return False, size
        with_graph = problem.ranks.mean([g.detach() for g in field.gradients if g is not None])
        without = [g for g in slope.parameters if g is not None]
        if len(with_graph) != len(without):
            return False, size
        self._check_alike(with_graph, without)
        with problem.preserved():
            again = [g for g in first_derivatives(problem, snapshot).parameters if g is not None]
        # Where not even two plain runs agree, as with atomic additions on a GPU, rounding is no difference.
        return _same(with_graph, without) or (not _same(again, without) and _apart(with_graph, without) < 1e-4), size

    def _check_alike(self, with_graph: Sequence[Tensor], without: Sequence[Tensor]) -> None:
        dtype = self._problem.parameters[0].dtype
        slack = HALF_SLACK if torch.is_autocast_enabled() else SLACK.get(dtype, HALF_SLACK)
        compiled = any(hasattr(module, "_orig_mod") for module in self._problem.model.modules())
        if compiled and (error := _apart(with_graph, without)) > slack:
            remedy = (
                "Windows run it eagerly. With dropout set torch._inductor.config.fallback_random = True, so that both "
                "draw alike; else pass the model uncompiled."
            )
            got = f"a relative difference of {error:.2g}"
            raise ArgumentError("model", "compute the same compiled and eagerly", got, remedy)


def _outlives(problem: Problem, field: GradientField) -> bool:
    """Whether a graph says the same when the parameters have moved on: layers that are checkpointed look them up."""
    along = [
        torch.zeros_like(p) if g is None else g.detach()
        for p, g in zip(problem.parameters, field.gradients, strict=True)
    ]
    still = [torch.zeros_like(statistic) for statistic in field.after]
    with EXACT.kernels(problem), problem.preserved():
        at_once = field.pull_back(along, still).parameters
        with torch.no_grad():
            torch._foreach_mul_(list(problem.parameters), 0.5)
        try:
            later = field.pull_back(along, still).parameters
        except CheckpointError:
            return False
    return _same(at_once, later) or _apart(later, at_once) < 1e-4


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MEMORY


def taped(problem: Problem, snapshot: Snapshot) -> GradientField:
    """The gradient of an inner step that is about to be taken, with a graph that outlives the step."""
    with standing_in(problem, snapshot) as copies:
        return GradientField.of(problem, snapshot, copies)


@contextmanager
def standing_in(problem: Problem, snapshot: Snapshot) -> Iterator[tuple[Tensor, ...]]:
    """Put a snapshot's parameters, and copies of the buffers, into the modules; the buffers keep what is written."""
    copies = tuple(nn.Parameter(kept) for kept in snapshot.start.parameters)
    own: dict[int, Tensor] = {id(live): copy for live, copy in zip(problem.parameters, copies, strict=True)}
    places = [
        (module, name, live, held is module._buffers)
        for module in problem.model.modules()
        for held in (module._parameters, module._buffers)
        for name, live in held.items()
        if live is not None and (id(live) in own or held is module._buffers)
    ]
    buffers = [live for _, _, live, buffer in places if buffer]
    own |= {id(live): live.clone() for live in buffers}
    for module, name, live, buffer in places:
        _hang(module, name, own[id(live)], buffer=buffer)
    try:
        yield copies
    finally:
        for module, name, live, buffer in places:
            _hang(module, name, live, buffer=buffer)
        for live in buffers:
            live.copy_(own[id(live)])


def _hang(module: nn.Module, name: str, tensor: Tensor, *, buffer: bool) -> None:
    """Set a parameter or buffer that a module has, past the checks of `nn.Module`, which take longer than a copy."""
    if type(module).__setattr__ is not nn.Module.__setattr__:
        setattr(module, name, tensor)
    else:
        held: dict[str, Any] = module._buffers if buffer else module._parameters
        held[name] = tensor


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


def _same(found: Sequence[Tensor], plain: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors agree bit for bit, NaN with NaN."""
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(found, plain, strict=True))


def _apart(found: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """Relative difference of two lists of tensors."""
    difference = sum(float((a - b).double().square().sum()) for a, b in zip(found, plain, strict=True))
    length = sum(float(b.double().square().sum()) for b in plain)
    return math.sqrt(difference / length) if length else math.sqrt(difference)
