"""Records the inner steps of windows: what is kept of each, and so what differentiating them will cost.

A window's first step is taken plainly, and run a second time: with a graph, where graphs are kept or may be. So at
every window the plain step is what counts, and what it is compared with is what will be differentiated.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from ray_glocal.hypergradient.gradient.consistency import consistency
from ray_glocal.hypergradient.gradient.differences import Say, calibrated
from ray_glocal.hypergradient.gradient.field import GradientField
from ray_glocal.hypergradient.gradient.graph import custom_functions, once_differentiable
from ray_glocal.hypergradient.gradient.products import EXACT, Products
from ray_glocal.hypergradient.gradient.slope import first_derivatives
from ray_glocal.hypergradient.hyperparameters.hyperparameter import Values
from ray_glocal.hypergradient.problem.hooks import waiting
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.trained import check_dense, listed
from ray_glocal.hypergradient.state import heap
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.copies import copied, pinned
from ray_glocal.hypergradient.state.snapshot import Slope, Snapshot
from ray_glocal.hypergradient.tuning import CLOSE, HOST_MEMORY, MISSING, STRAYED
from ray_glocal.hypergradient.window.graphs import check_twice, others, outlives, saving, taped
from ray_glocal.hypergradient.window.keeping import Keeping, Room
from ray_glocal.hypergradient.window.repeats import apart, check_compiled, difference, same
from ray_glocal.hypergradient.window.thawing import joined

logger = logging.getLogger(__name__)


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
        self._problem, self._room = problem, Room(window, memory, host_memory)
        self._say = say or (lambda _, text: logger.warning("%s", text))
        self._differences = products == "differences"
        heap.hold()
        self.keeping: Keeping | None = None  # decided at the first step
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
            field, trouble = self._decided(first) if self.keeping is None else self._again(first)
        self._strayed = self._strayed + 1 if trouble else 0
        lasting = problem.ranks.count > 1 or (self.keeping is not None and self.keeping.slopes)
        slope = first.slope.cloned() if lasting else None
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
            return None, difference(problem, first, first_derivatives(problem, first).parameters)
        field = taped(problem, first, owned(first.batch))
        again = problem.ranks.mean([g.detach() for g in field.gradients if g is not None])
        names = once_differentiable([field.loss], [g for g in field.gradients if g is not None])
        if names:
            return None, f"a loss has come to {listed(names)}, which can be differentiated only once"
        if len(again) == len(plain) and problem.ranks.unanimous(same(again, plain)) and not others(problem, field):
            return field, ""
        trouble = difference(problem, first, [None if g is None else g.detach() for g in field.gradients])
        if not trouble:
            logger.info("Windows are run a second time to be differentiated from now on: kernels differ.")
            memory = self._room.agreed(problem)
            self.keeping = self._room.states(problem, first, memory, EXACT, slopes=self._several)
        return None, trouble

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
            return replace(recorded, slope=recorded.slope.cloned(), taken=problem.take_step()), loss
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

    def _decided(self, first: Snapshot) -> tuple[None, str]:
        """Decide what is kept, unless the step cannot be run a second time: why, and then the next window's will do."""
        problem = self._problem
        assert first.slope is not None
        problem.place(first.start)
        again = first_derivatives(problem, first).parameters
        trouble = difference(problem, first, again)
        if not trouble:
            self.keeping = self._chosen(first, first.slope, again)
        return None, trouble

    def _chosen(self, first: Snapshot, slope: Slope, again: Sequence[Tensor | None]) -> Keeping:
        """Try a step in every way, and choose."""
        problem, memory = self._problem, self._room.agreed(self._problem)
        if self._differences:
            with problem.preserved():
                products = calibrated(problem, first, self._say)
            if products is not EXACT:
                return self._room.states(problem, first, memory, products, slopes=True)
            problem.place(first.start)
        pairs = [(a, b) for a, b in zip(again, slope.parameters, strict=True) if a is not None and b is not None]
        repeats = same([a for a, _ in pairs], [b for _, b in pairs])
        alike, graph = self._compared(first, slope, repeats=repeats)
        size = (graph + first.start.nbytes) * self._room.steps
        if problem.ranks.unanimous(alike and size <= memory and problem.scaler is None):
            return Keeping(graphs=True)
        why = f"{self._room.steps} graphs of {graph:.3g} bytes exceed {memory:.3g}" if alike else "kernels differ"
        logger.info("Windows are run a second time to be differentiated: %s.", why)
        return self._room.states(problem, first, memory, EXACT, slopes=self._several)

    @property
    def _several(self) -> bool:
        """Whether a step's gradient is put together from several."""
        return self._problem.accumulate > 1 or self._problem.ranks.count > 1

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
        if not problem.ranks.unanimous(outlives(problem, field)) or others(problem, field):
            return False, size
        with_graph = problem.ranks.mean([g.detach() for g in field.gradients if g is not None])
        without = [g for g in slope.parameters if g is not None]
        if len(with_graph) != len(without):
            return False, size
        check_compiled(problem, with_graph, without)
        # Where not even two plain runs agree, as with atomic additions on a GPU, rounding is no difference.
        rounding = not repeats and apart(with_graph, without) < CLOSE
        return same(with_graph, without) or rounding, size

    def _check_whole(self, first: Snapshot, field: GradientField) -> None:
        """Say what exact products leave out of how a gradient depends on the parameters, if that is anything."""
        seen = consistency(self._problem, first)
        self._problem.symmetric = not seen.asymmetry > MISSING
        if seen.missing > MISSING:
            names = custom_functions([field.loss])
            text = (
                f"Derivatives miss {100 * min(seen.missing, 1.0):.2g} % of how the training gradient depends on the "
                "parameters: part of `train_loss` is detached from them (by `detach`, `no_grad`, or a number that is "
                "read off a tensor), or the backward pass of a hook or a function cannot be differentiated"
            )
            self._say("products", f"{text} ({listed(names)}, perhaps)." if names else f"{text}.")
