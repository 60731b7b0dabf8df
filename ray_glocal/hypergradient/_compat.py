"""Every private name of torch that hypergradients stand on, each with the reason it is needed.

`tests/hypergradient/test_compat.py` pins each fact on the installed torch: a torch that changes one fails there first,
by name. They hold on torch 2.13; `docs/limits.md` says what torch 2.8, the oldest that is allowed, lacks.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.autograd.function import once_differentiable as marked

# Operations on many tensors in few launches, as torch's own optimizers do them: one by one, small tensors cost more
# time for being called than for being computed.
foreach_add = torch._foreach_add
foreach_add_ = torch._foreach_add_
foreach_copy_ = torch._foreach_copy_
foreach_lerp = torch._foreach_lerp
foreach_lerp_ = torch._foreach_lerp_
foreach_mul = torch._foreach_mul
foreach_mul_ = torch._foreach_mul_
foreach_norm = torch._foreach_norm  # by which torch's own clipping measures gradients: the same bits
foreach_sign_ = torch._foreach_sign_
foreach_sub = torch._foreach_sub

# Functions that a model calls by their public names, and that modes see by these.
weight_norm = torch._weight_norm  # of `torch.nn.utils.weight_norm` and the parametrization of that name
standard_gamma = torch._standard_gamma  # of `torch.distributions.Gamma.rsample`

# The forward pass of `torch.batch_norm` that says which kernel it chose, and the backward pass that is told.
batch_norm_by_choice = torch._batch_norm_impl_index
batch_norm_backward_by_choice = torch.ops.aten._batch_norm_impl_index_backward
CUDNN = 1  # the choice of cuDNN's

softmax_backward = torch.ops.aten._softmax_backward_data  # fused: by plain operations it reads its memory twice

# The nodes that raise where a function marked as once differentiable is differentiated twice. They have no class.
COMPLAINT = "torch::autograd::Error"
# A function of torch's own that is differentiable once and not marked so: its backward pass writes by `out=`.
UNMARKED = ("torch.nn.modules._functions.CrossMapLRN2d",)
# Where torch makes the classes of operators that others registered: they are named after it, and not its own.
REGISTERED = "torch._library."
MARK = marked(lambda *_: None).__code__  # what every backward pass that is marked runs first

# By these, torch's functions in Python ask whether a mode is to see them as a whole. A copy for which both say no
# leaves the mode to the functions that are called inside.
_OVERRIDES = ("has_torch_function", "has_torch_function_variadic")

HOOKS = "hooks"  # how the attributes of a module end that hold its hooks, by number


def version(tensor: Tensor) -> int:
    """How often a tensor was written to: by this autograd itself knows that what it saved is no more what it was."""
    return tensor._version


def gradient_hooks(tensor: Tensor) -> dict[int, Callable[..., Any]] | None:
    """The hooks of a tensor's gradient, by number, None where it never had one; there is no public way to read them."""
    found: dict[int, Callable[..., Any]] | None = tensor._backward_hooks
    return found


def accumulation_hooks(tensor: Tensor) -> Mapping[int, Callable[..., Any]]:
    """The hooks that run once a gradient is accumulated."""
    return getattr(tensor, "_post_accumulate_grad_hooks", None) or {}


def held_parameters(module: nn.Module) -> dict[str, Any]:
    """Where a module itself holds its parameters: others can stand in their places without being registered."""
    return module._parameters


def held_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """Where a module itself holds its buffers."""
    return module._buffers


def held_modules(module: nn.Module) -> dict[str, nn.Module | None]:
    """Where a module itself holds the modules in it; `named_children` leaves out one that is there twice."""
    return module._modules


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` wrapped a model, or a module in it."""
    return any(hasattr(module, "_orig_mod") for module in model.modules())


def compiler_is_loaded() -> bool:
    """Whether anybody loaded the compiler, which takes seconds; where nobody did, nothing is compiled."""
    return "torch._dynamo" in sys.modules


def transforms_run() -> bool:
    """Whether a transform of `torch.func` runs, which sees functions of autograd in another way."""
    return bool(torch._C._are_functorch_transforms_active())


def unwatched() -> AbstractContextManager[None]:
    """No mode sees the operations in it; `torch.overrides` has no such switch."""
    context: AbstractContextManager[None] = torch._C.DisableTorchFunction()
    return context


def applied(function: type[Function], *inputs: Any) -> Any:
    """Call an autograd function.

    Outside of `torch.func` transforms its `apply` adds to the one it inherits only the reading of a signature, call by
    call, which takes longer than many a kernel.
    """
    holder: Any = function if transforms_run() else super(Function, function)
    return holder.apply(*inputs)


def forward_class(kind: Any) -> type[Function]:
    """The class that was written, of the class of a node that torch made of it."""
    written: type[Function] = kind._forward_cls
    return written


@cache
def entered(function: FunctionType) -> FunctionType:
    """A function of torch's whose inner calls a mode sees; by itself, it would be left to the mode as a whole."""
    inside = {**function.__globals__, **dict.fromkeys(_OVERRIDES, lambda *_: False)}
    copy = FunctionType(function.__code__, inside, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
