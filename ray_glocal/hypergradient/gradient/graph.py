"""What autograd recorded: the functions in a graph that torch did not write, and those that are differentiable once.

A function marked `once_differentiable` does not say so when a gradient is differentiated in chosen inputs: its backward
pass ends in a leaf of its own making, or in no graph at all, and the derivative is zero. The marked class stands in the
graph of the loss, the leaf's complaint, which has no name, in that of the gradient.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction, Function
from torch.autograd.graph import Node

from ray_glocal.hypergradient._compat import COMPLAINT, MARK, REGISTERED, UNMARKED, forward_class
from ray_glocal.hypergradient.kernels.unsupported import WRONG_NODES

OURS = ("torch", "ray_glocal")


def nodes(tensors: Sequence[Tensor]) -> Iterator[Node]:
    """Every node of the graph that leads to these tensors, once; leaves are nodes too."""
    todo = [tensor.grad_fn for tensor in tensors]
    seen: set[Node] = set()  # holds them: torch would make another object of a node that nobody holds
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            todo += [following for following, _ in node.next_functions]


def once_differentiable(losses: Sequence[Tensor], gradients: Sequence[Tensor] = ()) -> list[str]:
    """Names of the functions whose second derivative is silently taken for zero.

    Args:
        losses: What was differentiated, with its graph.
        gradients: What came of it by `create_graph=True`. Of marks that no class in the graph of the losses shows they
            show that there is one, not whose.
    """
    named = {_name(function) for function in _functions(losses) if _marked(function)}
    if not named and any(node.name() == COMPLAINT for node in nodes(gradients)):
        return [COMPLAINT]
    return sorted(named)


def wrong_twice(losses: Sequence[Tensor]) -> list[str]:
    """Names of torch's functions in a graph whose second derivative torch gets wrong without a word.

    Kernels of ours take their place, or they are refused, except where no mode sees them: in `torch.func` transforms,
    scripted modules and tensors of other types.
    """
    found = {WRONG_NODES.get(node.name()) for node in nodes(losses)}
    return sorted(name for name in found if name is not None)


def custom_functions(tensors: Sequence[Tensor]) -> list[str]:
    """Names of the autograd functions in a graph whose derivatives neither torch nor this library wrote."""
    return sorted({_name(function) for function in _functions(tensors) if _foreign(function.__module__)})


def _functions(tensors: Sequence[Tensor]) -> Iterator[type[Function]]:
    """Classes, written in Python, of the nodes that have one."""
    kinds: Iterator[Any] = (type(node) for node in nodes(tensors) if isinstance(node, BackwardCFunction))
    return (forward_class(kind) for kind in kinds)


def _name(function: type[Function]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _foreign(module: str) -> bool:
    return module.partition(".")[0] not in OURS or module.startswith(REGISTERED)


def _marked(function: type[Function]) -> bool:
    """Whether the backward pass of a function was wrapped by torch's decorator, on whichever floor."""
    if _name(function) in UNMARKED:
        return True
    backward: Any = function.backward
    while backward is not None:
        if getattr(backward, "__code__", None) is MARK:
            return True
        backward = getattr(backward, "__wrapped__", None)
    return False
