"""The multi-class hinge loss, which torch differentiates only once."""

from torch import Tensor
from torch.nn import functional as F

from ray_glocal.hypergradient.kernels.formula import by_formula


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor | None:
    """Mean over classes of max(0, margin - x[target] + x)^p times the target's weight."""
    if size_average is not None or reduce is not None:
        return None

    def function(x: Tensor, target: Tensor, *weight: Tensor) -> Tensor:
        return F.multi_margin_loss(x, target, p, margin, weight[0] if weight else None, reduction=reduction)

    def formula(x: Tensor, target: Tensor, *weight: Tensor) -> Tensor:
        rows, labels = x.reshape(-1, x.shape[-1]), target.reshape(-1, 1)
        short = (margin - rows.gather(1, labels) + rows).clamp_min(0) ** p
        short = short.scatter(1, labels, 0).mean(1) * (weight[0][target].reshape(-1) if weight else 1)
        if reduction == "none":
            return short.reshape(target.shape)
        return short.mean() if reduction == "mean" else short.sum()

    return by_formula(function, formula, input, target, *([] if weight is None else [weight]))
