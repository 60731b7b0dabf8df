"""Activations, losses and distances, each in a small call."""

from functools import partial

import torch
from torch.nn import functional as F

from .arguments import Call, above_one, distribution, elementwise, normal, positive, within


def activations() -> dict[str, Call]:
    names = (
        "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu sigmoid"
        " silu softplus softshrink softsign tanh tanhshrink"
    )
    return {
        **elementwise(names, normal, F),
        "gelu, by tanh": (partial(F.gelu, approximate="tanh"), (normal(3, 4),)),
        "glu": (F.glu, (normal(3, 4),)),
        "gumbel_softmax": (F.gumbel_softmax, (normal(3, 4),)),
        "log_softmax": (partial(F.log_softmax, dim=-1), (normal(3, 4),)),
        "prelu": (F.prelu, (normal(3, 4), within(4))),
        "rrelu": (partial(F.rrelu, training=True), (normal(3, 4),)),
        "softmax": (partial(F.softmax, dim=-1), (normal(3, 4),)),
        "softmin": (partial(F.softmin, dim=-1), (normal(3, 4),)),
        "threshold": (partial(F.threshold, threshold=0.2, value=0.1), (normal(3, 4),)),
        "in place": (lambda x: F.relu(F.elu(x * 1, inplace=True) * x, inplace=True), (normal(3, 4),)),
        "hardsigmoid, in place": (lambda x: F.hardsigmoid(x * 1, inplace=True), (normal(3, 4),)),
    }


def losses() -> dict[str, Call]:
    labels, signs, other = torch.tensor([0, 2, 1, 0]), torch.tensor([1, -1, 1, -1.0]).double(), normal(4, 3)
    many = torch.tensor([[0, 2, -1], [1, -1, -1], [2, 0, 1], [0, -1, -1]])
    bits, x = (torch.rand(4, 3) > 0.5).double(), (normal(4, 3),)
    ctc = partial(
        F.ctc_loss, targets=torch.tensor([[1, 2]]), input_lengths=torch.tensor([5]), target_lengths=torch.tensor([2])
    )
    return {
        "gaussian_nll_loss": (F.gaussian_nll_loss, (*x, normal(4, 3), positive(4, 3))),
        "binary_cross_entropy": (F.binary_cross_entropy, (within(4, 3), within(4, 3))),
        "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, (*x, within(4, 3))),
        "binary_cross_entropy_with_logits, weighted": (
            lambda a: F.binary_cross_entropy_with_logits(a, bits, pos_weight=other[0].abs()),
            x,
        ),
        "cosine_embedding_loss": (lambda a, b: F.cosine_embedding_loss(a, b, signs, 0.1), (normal(4, 3), normal(4, 3))),
        "cross_entropy": (lambda a: F.cross_entropy(a, labels, weight=other[0].abs(), label_smoothing=0.1), x),
        "cross_entropy, soft": (lambda a, t: F.cross_entropy(a, t), (*x, distribution())),
        "ctc_loss": (lambda a: ctc(a.log_softmax(-1)), (normal(5, 1, 4),)),
        "hinge_embedding_loss": (lambda a: F.hinge_embedding_loss(a, signs, 5.0), (normal(4),)),
        "huber_loss": (lambda a, b: F.huber_loss(a, b, delta=0.7), (*x, normal(4, 3))),
        "kl_div": (lambda a, t: F.kl_div(a.log_softmax(-1), t, reduction="batchmean"), (*x, distribution())),
        "kl_div, logarithms": (lambda a, t: F.kl_div(a, t, log_target=True, reduction="sum"), (*x, normal(4, 3))),
        "l1_loss": (F.l1_loss, (*x, normal(4, 3))),
        "margin_ranking_loss": (lambda a, b: F.margin_ranking_loss(a, b, signs, 0.5), (normal(4), normal(4))),
        "mse_loss": (F.mse_loss, (*x, normal(4, 3))),
        "multi_margin_loss": (lambda a: F.multi_margin_loss(a, labels, margin=0.7), x),
        "multi_margin_loss, squared": (
            lambda a: F.multi_margin_loss(a, labels, p=2, weight=other[0].abs(), reduction="none"),
            x,
        ),
        "multi_margin_loss, averaged": (lambda a: F.multi_margin_loss(a, labels, size_average=True), x),
        "multilabel_margin_loss": (lambda a: F.multilabel_margin_loss(a, many), x),
        "multilabel_soft_margin_loss": (lambda a: F.multilabel_soft_margin_loss(a, bits), x),
        "nll_loss": (lambda a: F.nll_loss(a.log_softmax(-1), labels), x),
        "poisson_nll_loss": (lambda a, t: F.poisson_nll_loss(a, t, full=True), (*x, above_one(4, 3))),
        "smooth_l1_loss": (lambda a, b: F.smooth_l1_loss(a, b, beta=0.6), (*x, normal(4, 3))),
        "soft_margin_loss": (lambda a: F.soft_margin_loss(a, bits * 2 - 1), x),
        "triplet_margin_loss": (F.triplet_margin_loss, (normal(4, 3), normal(4, 3), normal(4, 3))),
        "triplet_margin_with_distance_loss": (
            F.triplet_margin_with_distance_loss,
            (normal(4, 3), normal(4, 3), normal(4, 3)),
        ),
    }


def distances() -> dict[str, Call]:
    pair = normal(3, 4), normal(5, 4)
    return {
        "cdist": (torch.cdist, pair),
        "cdist, batched": (torch.cdist, (normal(2, 3, 4), normal(1, 5, 4))),
        "cdist, by differences": (
            partial(torch.cdist, compute_mode="donot_use_mm_for_euclid_dist"),
            (normal(27, 2), normal(2, 2)),
        ),
        "cdist, by products": (partial(torch.cdist, compute_mode="use_mm_for_euclid_dist"), pair),
        "cdist, many": (torch.cdist, (normal(26, 2), normal(2, 2))),
        "cdist, p=1": (partial(torch.cdist, p=1.0), pair),
        "cdist, p=3": (partial(torch.cdist, p=3.0), pair),
        "cdist, p=inf": (partial(torch.cdist, p=float("inf")), pair),
        "cdist, to itself": (lambda x: torch.cdist(x, x), (normal(4, 3),)),
        "cosine_similarity": (F.cosine_similarity, (normal(4, 3), normal(4, 3))),
        "dist": (torch.dist, (normal(4), normal(4))),
        "normalize": (F.normalize, (normal(4, 3),)),
        "pairwise_distance": (F.pairwise_distance, (normal(4, 3), normal(4, 3))),
        "pdist": (F.pdist, (normal(4, 3),)),
        "pdist, p=1": (partial(F.pdist, p=1.0), (normal(4, 3),)),
        "pdist, p=3": (partial(F.pdist, p=3.0), (normal(4, 3),)),
        "renorm": (lambda x: torch.renorm(x, 2, 0, 0.5), (normal(4, 3),)),
    }
