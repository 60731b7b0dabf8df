"""Records the inner steps of windows: what is kept of each, and so what differentiating them will cost.

A window's first step is taken plainly, and run a second time: with a graph, where graphs are kept or may be. So at
every window the plain step is what counts, and what it is compared with is what will be differentiated.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient.gradient.consistency import consistency
from ray_glocal.hypergradient.gradient.differences import MISSING, Say, calibrated
from ray_glocal.hypergradient.gradient.field import GradientField
from ray_glocal.hypergradient.gradient.graph import custom_functions, nodes, once_differentiable, wrong_twice
from ray_glocal.hypergradient.gradient.products import EXACT, Products
from ray_glocal.hypergradient.gradient.slope import first_derivatives
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.hooks import waiting
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.trained import check_dense, listed
from ray_glocal.hypergradient.state import heap
from ray_glocal.hypergradient.state.batch import owned, tensors
from ray_glocal.hypergradient.state.copies import copied, pinned
from ray_glocal.hypergradient.state.snapshot import Slope, Snapshot
from ray_glocal.hypergradient.trouble import NoSecondDerivativeError, OverwrittenError
from ray_glocal.hypergradient.window.saved import Saved
from ray_glocal.hypergradient.window.thawing import joined

MEMORY = 2**30  # bytes; on a GPU half of what is free
HOST_MEMORY = 2**33
SLACK = {torch.float64: 1e-8, torch.float32: 1e-3}  # by which a model that runs eagerly may differ from itself compiled
HALF_SLACK = 5e-2
STRAYED = 2  # windows; of a tensor that moves the first one may be the one by which it is noticed
CLOSE = 1e-4  # relative difference up to which two runs of a step are one and the same but for rounding

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
    step, bit for bit, at the first step of every window. They differ where a kernel that can be differentiated twice
    takes the place of a fused one; such steps are taken plainly and run again. Where not even a window's states fit,
    they go to the host, and where that is too small as well, all but every so many are given up and computed again.

    Args:
        problem: The bilevel problem.
        window: Steps of the longest window.
        memory: Bytes that a window may take on the device of the parameters; None for 1 GiB, or half of what is free
            on a GPU.
        host_memory: Bytes that the states of a window may take in page-locked memory beside a GPU.
        products: `exact`, or `differences`: one more gradient in place of a Hessian product, by any kernels; for smooth
            models in single precision or better, and only where a check on the first step finds them close.
        say: Told what derivatives leave out, by a key and a text; the log by default.
    """

    def __init__(
        self,
        problem: Problem,
        window: int,
        memory: int | None = None,
        host_memory: int = HOST_MEMORY,
        *,
        products: Literal["exact", "differences"] = "exact",
        say: Say | None = None,
    ) -> None:
        self._problem, self._window, self._memory, self._host = problem, window, memory, host_memory
        self._say = say or (lambda _, text: logger.warning("%s", text))
        self._differences = products == "differences"
        heap.hold()
        self.keeping: Keeping | None = None  # settled at the first step
        self._strayed = 0  # windows in a row at whose first step two runs differed

    @property
    def repeatable(self) -> bool:
        """Whether it makes sense to run a step a second time: each run may move on what cannot be put back."""
        return self._strayed < STRAYED and not self._problem.surroundings.unrepeatable

    @property
    def products(self) -> Products:
        """Where Hessian products come from."""
        return EXACT if self.keeping is None else self.keeping.products

    def follow(self, snapshots: list[Snapshot]) -> list[Snapshot]:
        """The steps of an open window, if need be as those of the parameters that train by now."""
        before = self._problem.parameters
        return joined(self._problem, snapshots, before) if self._problem.follow() else snapshots

    def step(self, batch: Any, values: Values, place: int) -> tuple[Snapshot, Tensor]:
        """Take one inner step; its record and the detached training loss before it.

        Args:
            batch: The step's batch.
            values: Hyperparameter values.
            place: Steps of the window that were taken before.

        Raises:
            ArgumentError: `train_loss` is not a scalar that depends on the parameters and can be differentiated as
                often as is needed, or a compiled model computes something else than the same one run eagerly.
        """
        problem, keeping = self._problem, self.keeping
        changed = problem.follow()
        graphs = keeping is not None and keeping.graphs and place > 0 and not waiting(problem.parameters)
        keep = pinned if keeping is not None and keeping.pinned else copied
        stride = 1 if keeping is None else keeping.stride
        state = problem.capture(keep, again=not graphs) if place % stride == 0 else None
        snapshot = problem.snapshot(batch, values, state)
        if place == 0 or keeping is None:  # a resumed run may begin inside a window
            return self._first(snapshot, batch)
        if changed:
            snapshot = replace(snapshot, trouble="other parameters train than when the window began")
        if graphs:
            return self._kept(snapshot, batch)
        return self._plain(snapshot, batch, slopes=keeping.slopes)

    def _first(self, snapshot: Snapshot, batch: Any) -> tuple[Snapshot, Tensor]:
        """Take a window's first step plainly, run it again, and compare."""
        problem = self._problem
        if problem.surroundings.unrepeatable:
            held = listed(problem.surroundings.unrepeatable)
            trouble = f"{held} is an iterator that a loss or the model holds, and what it has given cannot be put back"
            recorded, loss = self._plain(snapshot, batch, slopes=False)
            return replace(recorded, trouble=trouble), loss
        first, loss = self._derived(snapshot, batch)
        assert first.slope is not None
        with problem.preserved():
            field, trouble = self._settled(first) if self.keeping is None else self._again(first)
        self._strayed = self._strayed + 1 if trouble else 0
        lasting = problem.ranks.count > 1 or (self.keeping is not None and self.keeping.slopes)
        slope = _kept(first.slope) if lasting else None
        recorded = replace(first, slope=slope, field=field, trouble=trouble, taken=problem.take_step())
        return replace(recorded, marks=problem.surroundings.marks()), loss

    def _again(self, first: Snapshot) -> tuple[GradientField | None, str]:
        """The step's graph, where graphs are kept and it says the same; or why it cannot be run a second time."""
        problem, keeping = self._problem, self.keeping
        assert keeping is not None
        assert first.slope is not None
        problem.place(first.start)
        plain = [g for g in first.slope.parameters if g is not None]
        if not keeping.graphs:
            if keeping.products is EXACT:
                return None, ""  # it is compared when it is differentiated
            return None, self._differ(first, first_derivatives(problem, first).parameters)
        field = taped(problem, first, owned(first.batch))
        again = problem.ranks.mean([g.detach() for g in field.gradients if g is not None])
        names = once_differentiable([field.loss], [g for g in field.gradients if g is not None])
        if names:
            return None, f"a loss has come to {listed(names)}, which can be differentiated only once"
        if len(again) == len(plain) and problem.ranks.unanimous(_same(again, plain)) and not others(problem, field):
            return field, ""
        trouble = self._differ(first, [None if g is None else g.detach() for g in field.gradients])
        if not trouble:
            logger.info("Windows are run a second time to be differentiated from now on: kernels differ.")
            memory = self._room()
            self.keeping = self._stored(first, memory, EXACT, slopes=self._several)
        return None, trouble

    def _differ(self, first: Snapshot, again: Sequence[Tensor | None]) -> str:
        """The sentence that says that a step run a second time is another one; empty where it is the same."""
        problem = self._problem
        assert first.slope is not None
        pairs = list(zip(problem.parameters, first.slope.parameters, again, strict=True))
        present = [p for p, a, b in pairs if (a is None) != (b is None)]
        if present:
            name = problem.name_of(present[0])
            return f"the loss depends on {name!r} in one of two runs of the same step only"
        both = [(p, a, b) for p, a, b in pairs if a is not None and b is not None]
        off = [(_apart([b], [a]), p) for p, a, b in both]
        plain, second = [a for _, a, _ in both], [b for _, _, b in both]
        alike = problem.ranks.unanimous(_same(second, plain) or _apart(second, plain) < CLOSE)
        if alike:
            return ""
        worst, parameter = max(off, key=lambda each: each[0] if each[0] == each[0] else math.inf)
        return (
            f"two runs of one step differ: the gradient of {problem.name_of(parameter)!r} by {worst:.2g} of its "
            "length. The loss draws on something that cannot be put back, or a hook changes gradients after the "
            "backward pass"
        )

    def _kept(self, snapshot: Snapshot, batch: Any) -> tuple[Snapshot, Tensor]:
        problem = self._problem
        problem.optimizer.zero_grad()
        field = taped(problem, snapshot, batch)
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
        return replace(snapshot, field=field, slope=slope, loss=field.loss.detach()), field.loss.detach()

    def _plain(self, snapshot: Snapshot, batch: Any, *, slopes: bool) -> tuple[Snapshot, Tensor]:
        problem = self._problem
        if slopes:
            recorded, loss = self._derived(snapshot, batch)
            assert recorded.slope is not None
            return replace(recorded, slope=_kept(recorded.slope), taken=problem.take_step()), loss
        loss = problem.differentiate(batch, problem.leaves(snapshot.values, differentiable=False))
        return replace(snapshot, loss=loss, taken=problem.take_step()), loss

    def _derived(self, snapshot: Snapshot, batch: Any) -> tuple[Snapshot, Tensor]:
        """A plain step with its loss and its slope, which is the parameters' own; the optimizer's part is left out."""
        problem = self._problem
        leaves = problem.leaves(snapshot.values, differentiable=True)
        loss = problem.explore(batch, leaves) if self.keeping is None else problem.differentiate(batch, leaves)
        gradients = tuple(p.grad for p in problem.parameters)
        check_dense(problem.model, problem.parameters, gradients)
        names = [name for name, leaf in leaves.items() if leaf.grad is not None]
        scaled = [g / snapshot.scale for name in names if (g := leaves[name].grad) is not None]
        slope = Slope(gradients, dict(zip(names, problem.ranks.mean(scaled), strict=True)))
        return replace(snapshot, slope=slope, loss=loss), loss

    def _settled(self, first: Snapshot) -> tuple[None, str]:
        """Settle what is kept, unless the step cannot be run a second time: why, and then the next window's will do."""
        problem = self._problem
        assert first.slope is not None
        problem.place(first.start)
        again = first_derivatives(problem, first).parameters
        trouble = self._differ(first, again)
        if not trouble:
            self.keeping = self._chosen(first, first.slope, again)
        return None, trouble

    def _chosen(self, first: Snapshot, slope: Slope, again: Sequence[Tensor | None]) -> Keeping:
        """Try a step in every way, and choose."""
        problem, memory = self._problem, self._room()
        if self._differences:
            with problem.preserved():
                products = calibrated(problem, first, self._say)
            if products is not EXACT:
                return self._stored(first, memory, products, slopes=True)
            problem.place(first.start)
        pairs = [(a, b) for a, b in zip(again, slope.parameters, strict=True) if a is not None and b is not None]
        repeats = _same([a for a, _ in pairs], [b for _, b in pairs])
        alike, graph = self._compared(first, slope, repeats=repeats)
        size = (graph + first.start.nbytes) * self._window
        if problem.ranks.unanimous(alike and size <= memory and problem.scaler is None):
            return Keeping(graphs=True)
        why = f"{self._window} graphs of {graph:.3g} bytes exceed {memory:.3g}" if alike else "kernels differ"
        logger.info("Windows are run a second time to be differentiated: %s.", why)
        return self._stored(first, memory, EXACT, slopes=self._several)

    @property
    def _several(self) -> bool:
        """Whether a step's gradient is put together from several."""
        return self._problem.accumulate > 1 or self._problem.ranks.count > 1

    def _room(self) -> int:
        memory = self._memory if self._memory is not None else _free(self._problem.parameters[0].device)
        return int(self._problem.ranks.agreed(memory))

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

    def _compared(self, first: Snapshot, slope: Slope, *, repeats: bool) -> tuple[bool, int]:
        """Whether the step is the same with a graph as without, and what its graph takes, in bytes.

        Args:
            first: The step, taken plainly.
            slope: Its gradient.
            repeats: Whether another plain run gave the same gradient, bit for bit.
        """
        problem = self._problem
        problem.place(first.start)
        saved = saving(problem, first)
        with saved.hooks():
            field = GradientField.of(problem, first)
        size = sum(saved.held.values())
        check_twice(problem, field)
        self._check_whole(first, field)
        if not problem.ranks.unanimous(_outlives(problem, field)) or others(problem, field):
            return False, size
        with_graph = problem.ranks.mean([g.detach() for g in field.gradients if g is not None])
        without = [g for g in slope.parameters if g is not None]
        if len(with_graph) != len(without):
            return False, size
        self._check_alike(with_graph, without)
        # Where not even two plain runs agree, as with atomic additions on a GPU, rounding is no difference.
        rounding = not repeats and _apart(with_graph, without) < CLOSE
        return _same(with_graph, without) or rounding, size

    def _check_whole(self, first: Snapshot, field: GradientField) -> None:
        """Say what exact products leave out of how a gradient depends on the parameters, if that is anything."""
        told = consistency(self._problem, first)
        self._problem.symmetric = not told.asymmetry > MISSING
        if told.missing > MISSING:
            names = custom_functions([field.loss])
            text = (
                f"Derivatives miss {100 * min(told.missing, 1.0):.2g} % of how the training gradient depends on the "
                "parameters: part of `train_loss` is detached from them (by `detach`, `no_grad`, or a number that is "
                "read off a tensor), or the backward pass of a hook or a function cannot be differentiated"
            )
            self._say("products", f"{text} ({listed(names)}, perhaps)." if names else f"{text}.")

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
        try:
            at_once = field.pull_back(along, still).parameters
            with torch.no_grad():
                torch._foreach_mul_(list(problem.parameters), 0.5)
            later = field.pull_back(along, still).parameters
        except (CheckpointError, OverwrittenError):
            return False
    return _same(at_once, later) or _apart(later, at_once) < 1e-4


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else MEMORY


def _kept(slope: Slope) -> Slope:
    """A slope that outlives the step."""
    return Slope(tuple(None if gradient is None else gradient.clone() for gradient in slope.parameters), slope.hyper)


def others(problem: Problem, field: GradientField) -> bool:
    """Whether a plain backward pass would leave gradients where somebody else may look for them."""
    own = {id(tensor) for tensor in field.inputs}
    known = {id(item.tensor) for item in problem.surroundings.items()}
    found = [node.variable for node in nodes([field.loss]) if hasattr(node, "variable")]
    return any(isinstance(v, nn.Parameter) or id(v) in known for v in found if id(v) not in own)


def saving(problem: Problem, snapshot: Snapshot, batch: Any = None) -> Saved:
    """What a graph of a step on a batch that others write to holds, that it outlives the step."""
    copies = list(zip(problem.parameters, snapshot.start.parameters, strict=True))
    if batch is not None:
        copies += zip(tensors(batch), tensors(snapshot.batch), strict=True)
    return Saved(copies, [*problem.model.buffers(), *problem.surroundings.moving])


def taped(problem: Problem, snapshot: Snapshot, batch: Any) -> GradientField:
    """The gradient of an inner step on a batch, with a graph that outlives the step."""
    with saving(problem, snapshot, batch).hooks():
        return GradientField.of(problem, snapshot, problem.parts(batch))


def check_twice(problem: Problem, field: GradientField) -> None:
    """Check that a step's gradient can be differentiated.

    Raises:
        ArgumentError: A function has no second derivative.
    """
    names = once_differentiable([field.loss], [g for g in field.gradients if g is not None])
    if names or (names := wrong_twice([field.loss])):
        raise not_twice(listed(names))
    pairs = zip(problem.parameters, field.gradients, strict=True)
    along = [torch.zeros_like(p) if g is None else g.detach() for p, g in pairs]
    with EXACT.kernels(problem), problem.preserved():
        try:
            field.pull_back(along, [torch.zeros_like(statistic) for statistic in field.after])
        except NoSecondDerivativeError as error:
            raise not_twice(str(error)) from error
        except OverwrittenError:
            return  # such graphs are not kept


def not_twice(got: str) -> ArgumentError:
    """The complaint about a training loss that has no second derivative."""
    remedy = (
        "Replace the function by one that has, or set `Settings(products='differences')`, which takes one more "
        "gradient in place of a second derivative."
    )
    return ArgumentError("train_loss", "be made of functions that can be differentiated twice", got, remedy)


def _same(found: Sequence[Tensor], plain: Sequence[Tensor]) -> bool:
    """Whether two lists of tensors agree bit for bit, NaN with NaN."""
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(found, plain, strict=True))


def _apart(found: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    """Relative difference of two lists of tensors."""
    difference = sum(float((a - b).double().square().sum()) for a, b in zip(found, plain, strict=True))
    length = sum(float(b.double().square().sum()) for b in plain)
    return math.sqrt(difference / length) if length else math.sqrt(difference)
