"""Losses of three outputs and a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Criterion = Callable[[Tensor, Tensor], Tensor]


def _hot(out: Tensor, label: Tensor) -> Tensor:
    return F.one_hot(label, 3).to(out.dtype)


def _focal(out: Tensor, label: Tensor) -> Tensor:
    chance = out.softmax(-1).gather(1, label[:, None])
    return -((1 - chance) ** 2 * chance.log()).mean()


def _confident(out: Tensor, label: Tensor) -> Tensor:
    """Weights that are detached: constants of the step, but functions of the parameters."""
    each = F.cross_entropy(out, label, reduction="none")
    return (each * (-each.detach()).exp()).mean() + 0.1 * each.mean()


SMOOTH: Mapping[str, Criterion] = {
    "cross entropy": F.cross_entropy,
    "cross entropy, smoothed": lambda out, label: F.cross_entropy(out, label, label_smoothing=0.1),
    "cross entropy, weighted": lambda out, label: F.cross_entropy(out, label, out.new_tensor([1.0, 2.0, 0.5])),
    "cross entropy of soft labels": lambda out, label: F.cross_entropy(out, 0.8 * _hot(out, label) + 0.2 / 3),
    "NLL": lambda out, label: F.nll_loss(out.log_softmax(-1), label),
    "MSE": lambda out, label: F.mse_loss(out, _hot(out, label)),
    "BCE with logits": lambda out, label: F.binary_cross_entropy_with_logits(out, _hot(out, label)),
    "BCE": lambda out, label: F.binary_cross_entropy(out.sigmoid(), _hot(out, label)),
    "KL divergence": lambda out, label: F.kl_div(
        out.log_softmax(-1), 0.8 * _hot(out, label) + 0.2 / 3, reduction="batchmean"
    ),
    "soft margin": lambda out, label: F.soft_margin_loss(out, 2 * _hot(out, label) - 1),
    "multi-label soft margin": lambda out, label: F.multilabel_soft_margin_loss(out, _hot(out, label)),
    "Gaussian NLL": lambda out, label: (
        F.gaussian_nll_loss(out[:, :1], label[:, None].to(out.dtype), F.softplus(out[:, 1:2]) + 0.1)
        + out[:, 2].square().mean()
    ),
    "Poisson NLL": lambda out, label: F.poisson_nll_loss(out, _hot(out, label)) + 1.0,
    "focal": _focal,
    "detached weights": _confident,
}
KINKED: Mapping[str, Criterion] = {
    "L1": lambda out, label: F.l1_loss(out, _hot(out, label)),
    "smooth L1": lambda out, label: F.smooth_l1_loss(out, _hot(out, label), beta=0.5),
    "Huber": lambda out, label: F.huber_loss(out, _hot(out, label), delta=0.5),
    "multi-margin": F.multi_margin_loss,
    "hinge embedding": lambda out, label: F.hinge_embedding_loss(out, 2 * _hot(out, label) - 1),
    "cosine embedding": lambda out, label: F.cosine_embedding_loss(
        out, _hot(out, label), torch.where(label > 0, 1, -1)
    ),
    "margin ranking": lambda out, label: (
        F.margin_ranking_loss(out[:, 0], out[:, 1], torch.where(label > 0, 1, -1).to(out.dtype), margin=0.5)
        + 0.1 * out.square().mean()
    ),
    "triplet margin": lambda out, label: F.triplet_margin_loss(out, _hot(out, label), _hot(out, (label + 1) % 3)),
}
LOSSES: Mapping[str, Criterion] = {**SMOOTH, **KINKED}
