"""Functions of torch's without a second derivative, or with a wrong one, that nothing of ours takes the place of.

Seen on torch 2.13; a test looks whether torch still fails there. Autograd functions that torch wrote in Python are not
among them, for no mode sees those: `hypergradient.gradient.graph` finds them.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ray_glocal.errors import ArgumentError
from ray_glocal.hypergradient._compat import standard_gamma

MISSING = "torch has no second derivative of it"
WRONG = "torch's second derivative of it is wrong"
SPARSE = "its gradient is sparse"
INSTEAD = 'Use another function, or `Settings(products="differences")`.'
REMEDIES = {MISSING: INSTEAD, WRONG: INSTEAD, SPARSE: "Set `sparse=False`."}


@dataclass(frozen=True)
class Unsupported:
    """A function, or those of its calls that a kernel leaves and that have an option.

    Args:
        name: As a user knows it.
        fault: What is the matter with its second derivative.
        option: An argument by which calls are told apart; all calls are concerned where it is empty.
        concerns: Whether a call with this value of it is; by default, where it is set.
    """

    name: str
    fault: str
    option: str = ""
    concerns: Callable[[Any], bool] = bool

    def check(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Complain about a call whose second derivative is needed.

        Raises:
            ArgumentError: The call is concerned.
        """
        value = _signature(function).bind(*args, **kwargs).arguments.get(self.option) if self.option else None
        if self.option and not self.concerns(value):
            return
        shown = f"={value!r}" if isinstance(value, (str, int, float)) else ""
        got = f"{self.name} with `{self.option}{shown}`" if self.option else self.name
        raise ArgumentError("train_loss", f"be differentiable twice, but {self.fault}", got, REMEDIES[self.fault])


_signature = cache(inspect.signature)

UNSUPPORTED: Mapping[Any, Sequence[Unsupported]] = {
    F.ctc_loss: (Unsupported("ctc_loss", MISSING),),
    F.multilabel_margin_loss: (Unsupported("multilabel_margin_loss", MISSING),),
    F.multi_margin_loss: (
        Unsupported("multi_margin_loss", MISSING, "size_average"),
        Unsupported("multi_margin_loss", MISSING, "reduce"),
    ),
    F.hardsigmoid: (Unsupported("hardsigmoid", MISSING, "inplace"),),
    F.pdist: (Unsupported("pdist with `p` other than 1 and 2", MISSING),),
    torch.cdist: (Unsupported("cdist", MISSING, "p", lambda p: p not in (None, 1, 2)),),
    F.embedding: (  # rows are cut in place, or their gradients divided, which the second derivative does not see
        Unsupported("embedding", WRONG, "max_norm"),
        Unsupported("embedding", WRONG, "scale_grad_by_freq"),
        Unsupported("embedding", SPARSE, "sparse"),
    ),
    F.embedding_bag: (
        Unsupported("embedding_bag", SPARSE, "sparse"),
        Unsupported("embedding_bag", MISSING, "max_norm"),
        Unsupported("embedding_bag", MISSING, "scale_grad_by_freq"),
        Unsupported("embedding_bag", MISSING, "mode", lambda mode: mode == "max"),
    ),
    torch.segment_reduce: (Unsupported("segment_reduce", MISSING),),
    torch.as_strided_scatter: (Unsupported("as_strided_scatter", WRONG),),
    standard_gamma: (Unsupported("Gamma.rsample in its shape", MISSING),),
    # new in torch 2.13; in chunks its gradient is computed ahead, as if it were a constant
    **(
        {F.linear_cross_entropy: (Unsupported("linear_cross_entropy", WRONG, "options", lambda o: o is not None),)}
        if hasattr(F, "linear_cross_entropy")
        else {}
    ),
}

# Nodes that torch's functions leave in a graph where nothing took their place, and whose own derivative is wrong.
WRONG_NODES: Mapping[str, str] = {
    "WeightNormInterfaceBackward0": "weight_norm",
    "AsStridedScatterBackward0": "as_strided_scatter",
    "GeneratedBackwardFor_torch_nn__linear_cross_entropy_batch_chunked_defaultBackward": "linear_cross_entropy",
}


def refusal(function: Any) -> Callable[..., Tensor | None]:
    """What takes the place of an unsupported function where its second derivative is needed.

    Raises:
        ArgumentError: When it is called so that one of its entries is concerned.
    """

    def refuse(*args: Any, **kwargs: Any) -> Tensor | None:
        for entry in UNSUPPORTED[function]:
            entry.check(function, args, kwargs)
        return None

    return refuse
