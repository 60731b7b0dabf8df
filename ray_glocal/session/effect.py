"""Hyperparameters that a loss reads without being differentiable in them."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ray_glocal.errors import ArgumentError
from ray_glocal.forecast import Array
from ray_glocal.hypergradient import Problem
from ray_glocal.hypergradient.hyperparameters.hyperparameter import HyperValues, Values
from ray_glocal.hypergradient.kernels import differentiable_in_eval
from ray_glocal.hypergradient.problem.losses import Loss, takes_hyper
from ray_glocal.hypergradient.problem.trained import listed
from ray_glocal.hypergradient.state.batch import owned
from ray_glocal.hypergradient.state.preservation import evaluating
from ray_glocal.hypergradient.state.randomness import Randomness
from ray_glocal.session.notices import Notices
from ray_glocal.session.pacing.cost import FORWARD

_UNDIFFERENTIABLE = re.compile(r"\brequires?[ _]grad")  # in what torch says of a tensor that may have no derivative


def say_unreached(problem: Problem, notices: Notices, batch: Any, val_batches: Sequence[Any], values: Values) -> float:
    """Say of which hyperparameters no loss that reads them keeps the graph, so that they cannot be adapted.

    Both losses are evaluated once more, and nobody else notices. Of losses that cannot be run again nothing is said.

    Args:
        problem: Before a step.
        notices: Where to say it.
        batch: Of the step.
        val_batches: Of the validation loss, of which the first is taken.
        values: Hyperparameters.

    Returns:
        What that cost, in inner-step equivalents: a forward pass is a third of a step.

    Raises:
        ArgumentError: A loss uses one in a way that torch has no derivative of.
    """
    leaves, start = problem.leaves(values, differentiable=True), Randomness.capture()
    if not leaves or problem.surroundings.unrepeatable:
        return 0.0
    try:
        with differentiable_in_eval(problem.model), _quiet():
            trained = _reading(problem, "train_loss", problem.train_loss, problem.parts(owned(batch))[0], leaves)
            start.restore()
            with evaluating(problem.model):
                validated = _reading(problem, "val_loss", problem.val_loss, owned(val_batches[0]), leaves)
    finally:
        start.restore()
    for name in sorted(trained.read - trained.reached):
        _say(notices, name, "train_loss")
    for name in sorted(validated.read - validated.reached - trained.read):
        _say(notices, name, "val_loss")
    return sum(map(takes_hyper, (problem.train_loss, problem.val_loss))) * FORWARD


@dataclass(frozen=True)
class _Reading:
    """Names that a loss has read from `hyper`, and those that its graph leads back to; a module counts as one."""

    read: frozenset[str] = frozenset()
    reached: frozenset[str] = frozenset()


def _reading(problem: Problem, name: str, loss: Loss, batch: Any, leaves: Mapping[str, Tensor]) -> _Reading:
    if not takes_hyper(loss):
        return _Reading()
    hyper = HyperValues(leaves)
    try:
        with problem.unnoticed():
            value = loss(problem.model, batch, hyper)
    except RuntimeError as error:
        if not hyper.read or _UNDIFFERENTIABLE.search(str(error)) is None:
            raise
        remedy = f"Torch says: {error} {_way_out('such a one')}"
        rule = "be differentiable in what it reads from `hyper`"
        raise ArgumentError(name, rule, listed(sorted(hyper.read)), remedy) from error
    reached = _reached(value, leaves) if isinstance(value, Tensor) else leaves
    return _Reading(frozenset(map(_whole, hyper.read)), frozenset(map(_whole, reached)))


def _whole(name: str) -> str:
    """The module that a parameter belongs to, or the name itself."""
    return name.partition("/")[0]


def _reached(loss: Tensor, leaves: Mapping[str, Tensor]) -> Iterator[str]:
    """The leaves that a loss's graph leads back to, by name."""
    names, seen, ahead = {id(leaf): name for name, leaf in leaves.items()}, set(), [loss.grad_fn]
    if id(loss) in names:
        yield names[id(loss)]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        held = getattr(node, "variable", None)  # of the nodes at which leaves stand
        if id(held) in names:
            yield names[id(held)]
        ahead += [before for before, _ in node.next_functions]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's own warning of `float(tensor)`: ours has the name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True", UserWarning)
        yield


def _way_out(name: str) -> str:
    return (
        "Use the tensor as it is; where torch takes a number alone, as `label_smoothing=` and dropout's `p=` do, write "
        f"the formula out, or leave {name} out of what is adapted, by `adapt=`, and read it from the configuration."
    )


def _say(notices: Notices, name: str, loss: str) -> None:
    notices.say(
        _key(name),
        f"`{loss}` reads {name!r} from `hyper` and has no derivative in it: `float(hyper[{name!r}])`, `.item()` and "
        f"`.detach()` cut it off. It is not adapted. {_way_out(repr(name))}",
    )


def _key(name: str) -> str:
    return f"no effect of {name}"


def cut_off(problem: Problem, series: Array) -> list[str]:
    """Hyperparameters of the losses whose derivatives are exactly zero in every entry of a trajectory [K, q].

    Those with a common prefix, the parameters of one module, count as one: a layer that is still zero hides others.
    """
    nonzero: dict[str, list[bool]] = {}
    for binding in problem.bindings:
        if binding.field is None:
            name = binding.hyperparameter.name
            nonzero.setdefault(_whole(name), []).append(bool(series[:, problem.places[name]].any()))
    return [name for name, parts in nonzero.items() if not any(parts)]


def say_cut_off(problem: Problem, notices: Notices, series: Array) -> None:
    """Say which they are, by derivatives [n, q]."""
    for name in cut_off(problem, series):
        notices.say(
            _key(name),
            f"The derivative in {name!r} is exactly zero in the whole first hypergradient: a loss that rounds it or "
            f"compares it, or reads it as `float(hyper[{name!r}])`, cuts it off, and it will never move. "
            f"{_way_out(repr(name))}",
        )
