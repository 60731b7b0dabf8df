"""Which of torch's functions are replaced, and when."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ray_glocal.hypergradient._compat import entered, transforms_run
from ray_glocal.hypergradient._compat import weight_norm as named_weight_norm
from ray_glocal.hypergradient.kernels import (
    autocast,
    backends,
    batch_norm,
    distance,
    group_norm,
    layer_norm,
)
from ray_glocal.hypergradient.kernels.attention import attention
from ray_glocal.hypergradient.kernels.eager import differentiable_in_eval
from ray_glocal.hypergradient.kernels.embedding_bag import embedding_bag
from ray_glocal.hypergradient.kernels.hard import hardsigmoid
from ray_glocal.hypergradient.kernels.margin import multi_margin_loss
from ray_glocal.hypergradient.kernels.silu import silu
from ray_glocal.hypergradient.kernels.unsupported import UNSUPPORTED, refusal
from ray_glocal.hypergradient.kernels.weight_norm import weight_norm

Kernel = Callable[..., Tensor | None]

# A kernel answers None to arguments that it does not cover.
REPLACED: Mapping[Any, Kernel] = {
    F.silu: silu,
    F.layer_norm: layer_norm.layer_norm,
    torch.layer_norm: layer_norm.layer_norm,
    F.scaled_dot_product_attention: attention,
    torch.batch_norm: batch_norm.batch_norm,
    torch.group_norm: group_norm.group_norm,
    torch.instance_norm: batch_norm.instance_norm,
    named_weight_norm: weight_norm,
    torch.cdist: distance.cdist,
    F.pdist: distance.pdist,
    F.hardsigmoid: hardsigmoid,
    F.multi_margin_loss: multi_margin_loss,
    F.embedding_bag: embedding_bag,
}


def covered(function: Any) -> Kernel:
    """A function's kernel, and a refusal of what it does not cover and torch has no second derivative of."""
    kernel, refuse = REPLACED.get(function), refusal(function)
    if kernel is None or function not in UNSUPPORTED:
        return kernel or refuse

    def call(*args: Any, **kwargs: Any) -> Tensor | None:
        found = kernel(*args, **kwargs)
        return refuse(*args, **kwargs) if found is None else found

    return call


KERNELS: Mapping[Any, Kernel] = {function: covered(function) for function in {**REPLACED, **UNSUPPORTED}}


# Functions inside which kernels are called; a backward pass calls them where layers are checkpointed.
COMPOSITES = frozenset(
    {F.multi_head_attention_forward, F.batch_norm, F.group_norm, F.instance_norm, torch.autograd.grad}
)


class Substitution(TorchFunctionMode):
    """Calls our kernels in place of torch's where a derivative is asked for and they cover the arguments.

    They do not see what happens inside `torch.func` transforms, scripted modules and tensors of other types, nor
    what autocast does on other devices than CPUs and CUDA's; there, and for arguments that a kernel does not cover,
    torch's own run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.used = False  # whether any was

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what takes its place."""
        kwargs = kwargs or {}
        if any(kind not in (Tensor, nn.Parameter) for kind in types):
            return func(*args, **kwargs)
        if func in COMPOSITES:
            with self:
                return entered(func)(*args, **kwargs)
        kernel = KERNELS.get(func)
        if kernel is None or not differentiated(args, kwargs):
            return func(*args, **kwargs)
        found = kernel(*args, **kwargs)
        self.used |= found is not None
        return func(*args, **kwargs) if found is None else found


def differentiated(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether autograd, and nothing else, records what is done to these arguments."""
    if not torch.is_grad_enabled() or transforms_run():
        return False
    tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    if any(t.is_nested or (t.device.type not in autocast.DEVICES and autocast.active(t.device)) for t in tensors):
        return False
    return any(t.requires_grad for t in tensors)


@contextmanager
def twice_differentiable(model: nn.Module, *, substituting: bool = True) -> Iterator[Substitution | None]:
    """Use kernels that have a second derivative: ours in place of the fused ones, and native RNNs.

    Looking at every call costs time: where the yielded substitution was not `used`, later passes may go without one.

    Attention that ours does not cover (dropout, grouped queries, a mask that is learnt, heads that are broadcast) runs
    in torch's math kernel, whose bits differ from the fused one's.
    """
    with differentiable_in_eval(model), backends.only_math():
        if not substituting:
            yield None
            return
        with Substitution() as ours:
            yield ours
