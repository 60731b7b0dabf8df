"""Graphs of steps that are kept: whether they outlive the step, and can be differentiated."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointError

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import foreach_mul_
from ray_glocal.hypergradient.gradient.field import GradientField
from ray_glocal.hypergradient.gradient.graph import nodes, once_differentiable, wrong_twice
from ray_glocal.hypergradient.gradient.products import EXACT
from ray_glocal.hypergradient.problem.problem import Problem
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.hypergradient.state.batch import tensors
from ray_glocal.hypergradient.state.snapshot import Snapshot
from ray_glocal.hypergradient.trouble import NoSecondDerivativeError, OverwrittenError
from ray_glocal.hypergradient.tuning import CLOSE
from ray_glocal.hypergradient.window.repeats import apart, same
from ray_glocal.hypergradient.window.saved import Saved


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


def others(problem: Problem, field: GradientField) -> bool:
    """Whether a plain backward pass would leave gradients where somebody else may look for them."""
    own = {id(tensor) for tensor in field.inputs}
    known = {id(item.tensor) for item in problem.surroundings.items()}
    found = [node.variable for node in nodes([field.loss]) if hasattr(node, "variable")]
    return any(isinstance(v, nn.Parameter) or id(v) in known for v in found if id(v) not in own)


def outlives(problem: Problem, field: GradientField) -> bool:
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
                foreach_mul_(list(problem.parameters), 0.5)
            later = field.pull_back(along, still).parameters
        except (CheckpointError, OverwrittenError):
            return False
    return same(at_once, later) or apart(later, at_once) < CLOSE


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
