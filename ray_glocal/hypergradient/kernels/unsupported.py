"""Functions of torch's without a second derivative, or with a wrong one, that nothing of ours takes the place of.

Seen on torch 2.13; the tests look whether torch still fails there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ray_glocal.errors import ArgumentError

MISSING = "torch has no second derivative of it"
WRONG = "torch's second derivative of it is wrong"
REMEDY = 'Use another function, or `Settings(products="differences")`.'


def _always(*_: Any, **__: Any) -> bool:
    return True


@dataclass(frozen=True)
class Unsupported:
    """A function, or some of its calls.

    Args:
        name: As a user knows it.
        fault: What is the matter with its second derivative.
        concerns: Whether a call with these arguments is one of those; every call is by default.
    """

    name: str
    fault: str
    concerns: Callable[..., bool] = _always

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor | None:
        """Take the place of the function where its second derivative is needed.

        Raises:
            ArgumentError: The call is concerned.
        """
        if self.concerns(*args, **kwargs):
            raise ArgumentError("train_loss", f"be differentiable twice, but {self.fault}", self.name, REMEDY)
        return None


def _bent(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> bool:
    """Rows are cut in place, or their gradients divided, which no second derivative sees."""
    return max_norm is not None or scale_grad_by_freq


def _odd(x1: Tensor, x2: Tensor, p: float = 2.0, *_: Any, **__: Any) -> bool:
    return p not in (1, 2)


def _in_chunks(*_: Any, options: object = None, **__: Any) -> bool:
    """Chunks compute their gradient ahead, as if it were a constant."""
    return options is not None


UNSUPPORTED: Mapping[Any, Unsupported] = {
    F.ctc_loss: Unsupported("ctc_loss", MISSING),
    F.multilabel_margin_loss: Unsupported("multilabel_margin_loss", MISSING),
    F.multi_margin_loss: Unsupported("multi_margin_loss with `size_average` or `reduce`", MISSING),
    F.hardsigmoid: Unsupported("hardsigmoid in place", MISSING),
    F.pdist: Unsupported("pdist with `p` other than 1 and 2", MISSING),
    torch.cdist: Unsupported("cdist with `p` other than 1 and 2", MISSING, _odd),
    F.embedding_bag: Unsupported("embedding_bag other than by sum or mean, dense and unscaled", MISSING),
    F.embedding: Unsupported("embedding with `max_norm` or `scale_grad_by_freq`", WRONG, _bent),
    torch.segment_reduce: Unsupported("segment_reduce", MISSING),
    torch.as_strided_scatter: Unsupported("as_strided_scatter", WRONG),
    torch._standard_gamma: Unsupported("Gamma.rsample in its shape", MISSING),
}
if hasattr(F, "linear_cross_entropy"):  # new in torch 2.13
    UNSUPPORTED = {
        **UNSUPPORTED,
        F.linear_cross_entropy: Unsupported("linear_cross_entropy with `options`", WRONG, _in_chunks),
    }
