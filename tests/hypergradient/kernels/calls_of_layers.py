"""Layers, pools and whole networks, each in a small call."""

import warnings
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .arguments import Call, module, normal, positive, within


def layers() -> dict[str, Call]:
    words, image = torch.tensor([[0, 1], [1, 3]]), normal(2, 4, 5, 5)
    grid = torch.rand(1, 3, 3, 2, dtype=torch.float64) * 1.6 - 0.8
    bags, offsets, gaps = torch.tensor([0, 2, 1, 3, 3]), torch.tensor([0, 2]), torch.tensor([0, 2, 2, 5])
    row, kept = normal(1, 4, 5), torch.tensor([1.0, 1, 1, 0]).double()[:, None]
    return {
        "affine_grid": (lambda t: F.affine_grid(t, [1, 1, 3, 3], align_corners=False), (normal(1, 2, 3),)),
        "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (image, normal(4), normal(4))),
        "batch_norm, of running statistics": (
            lambda x, m, v: F.batch_norm(x, torch.zeros(4).double(), torch.ones(4).double(), m, v, False),
            (image, normal(4), normal(4)),
        ),
        "bilinear": (F.bilinear, (normal(3, 2), normal(3, 4), normal(2, 2, 4), normal(2))),
        "conv1d": (F.conv1d, (row, normal(2, 4, 3), normal(2))),
        "conv2d": (partial(F.conv2d, stride=2, padding=1), (image, normal(2, 4, 3, 3), normal(2))),
        "conv2d, grouped": (partial(F.conv2d, groups=2, dilation=2), (image, normal(2, 2, 2, 2), normal(2))),
        "conv3d": (F.conv3d, (normal(1, 2, 3, 3, 3), normal(2, 2, 2, 2, 2))),
        "conv_tbc": (torch.conv_tbc, (normal(5, 2, 3), normal(2, 3, 2), normal(2))),
        "conv_transpose1d": (F.conv_transpose1d, (row, normal(4, 2, 3), normal(2))),
        "conv_transpose2d": (partial(F.conv_transpose2d, stride=2), (image, normal(4, 2, 2, 2), normal(2))),
        "conv_transpose3d": (F.conv_transpose3d, (normal(1, 2, 2, 2, 2), normal(2, 2, 2, 2, 2))),
        "dropout": (F.dropout, (normal(3, 4),)),
        "channel_shuffle": (partial(F.channel_shuffle, groups=2), (image,)),
        **{
            f"dropout, {kind}": (partial(getattr(F, kind), training=True), (x,))
            for kind, x in {
                "dropout1d": row,
                "dropout2d": image,
                "dropout3d": normal(1, 2, 2, 2, 2),
                "feature_alpha_dropout": image,
            }.items()
        },
        "dropout, alpha": (partial(F.alpha_dropout, training=True), (normal(3, 4),)),
        "embedding": (partial(F.embedding, words), (normal(4, 3),)),
        "embedding, padded": (lambda w: F.embedding(words, w * kept, padding_idx=3), (normal(4, 3),)),
        "embedding, scaled": (
            partial(F.embedding, torch.tensor([[0, 0], [0, 1]]), scale_grad_by_freq=True),
            (normal(4, 3),),
        ),
        "embedding, max_norm": (lambda w: F.embedding(words, w * 1, max_norm=0.5), (normal(4, 3),)),
        "embedding, sparse": (partial(F.embedding, words, sparse=True), (normal(4, 3),)),
        "embedding_bag": (partial(F.embedding_bag, words), (normal(4, 3),)),
        "embedding_bag, max": (lambda w: F.embedding_bag(bags, w, offsets, mode="max"), (normal(4, 3),)),
        "embedding_bag, padded": (
            lambda w: F.embedding_bag(bags, w * kept, gaps, include_last_offset=True, padding_idx=3),
            (normal(4, 3),),
        ),
        "embedding_bag, max_norm": (
            lambda w: F.embedding_bag(bags, w * 1, offsets, mode="sum", max_norm=0.5),
            (normal(4, 3),),
        ),
        "embedding_bag, scaled": (
            lambda w: F.embedding_bag(bags, w, offsets, mode="sum", scale_grad_by_freq=True),
            (normal(4, 3),),
        ),
        "embedding_bag, sparse": (
            lambda w: F.embedding_bag(bags, w, offsets, mode="sum", sparse=True),
            (normal(4, 3),),
        ),
        "embedding_bag, sum": (lambda w: F.embedding_bag(bags, w, offsets, mode="sum"), (normal(4, 3),)),
        "embedding_bag, weighted": (
            lambda w, s: F.embedding_bag(bags, w, offsets, mode="sum", per_sample_weights=s),
            (normal(4, 3), normal(5)),
        ),
        "fold": (lambda x: F.fold(x, (3, 3), 2), (normal(1, 4, 4),)),
        "grid_sample": (partial(F.grid_sample, align_corners=False), (normal(1, 2, 4, 4), grid)),
        "grid_sample, bicubic": (
            partial(F.grid_sample, mode="bicubic", padding_mode="border", align_corners=True),
            (normal(1, 2, 4, 4), grid),
        ),
        "grid_sample, 3d": (
            partial(F.grid_sample, align_corners=False),
            (normal(1, 1, 3, 3, 3), within(1, 2, 2, 2, 3)),
        ),
        "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (image, normal(4), normal(4))),
        "instance_norm": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (image, normal(4), normal(4))),
        "layer_norm": (lambda x, w, b: F.layer_norm(x, (5,), w, b), (row, normal(5), normal(5))),
        "layer_norm, shift alone": (lambda x, b: F.layer_norm(x, (5,), None, b), (row, normal(5))),
        "batch_norm, shift alone": (lambda x, b: F.batch_norm(x, None, None, None, b, True), (image, normal(4))),
        "instance_norm, shift alone": (lambda x, b: F.instance_norm(x, bias=b), (image, normal(4))),
        "layer_norm, bare": (lambda x: F.layer_norm(x, (5,)), (row,)),
        "linear": (F.linear, (normal(3, 4), normal(2, 4), normal(2))),
        "local_response_norm": (partial(F.local_response_norm, size=3), (image,)),
        "pad, circular": (lambda x: F.pad(x, (1, 2), "circular"), (row,)),
        "pad, reflect": (lambda x: F.pad(x, (1, 2), "reflect"), (row,)),
        "pad, replicate": (lambda x: F.pad(x, (1, 2), "replicate"), (row,)),
        "pixel_shuffle": (partial(F.pixel_shuffle, upscale_factor=2), (image,)),
        "pixel_unshuffle": (partial(F.pixel_unshuffle, downscale_factor=2), (normal(1, 2, 4, 4),)),
        "rms_norm": (lambda x, w: F.rms_norm(x, (5,), w), (row, normal(5))),
        "scaled_dot_product_attention": (
            partial(F.scaled_dot_product_attention, is_causal=True),
            (normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4)),
        ),
        "unfold": (lambda x: F.unfold(x, 2), (image,)),
        "weight_norm, of rows": (lambda v, g: torch._weight_norm(v, g, 0), (normal(4, 3, 2), normal(4, 1, 1))),
        "weight_norm, of columns": (lambda v, g: torch._weight_norm(v, g, 1), (normal(4, 3), normal(1, 3))),
        "weight_norm, of numbers": (lambda v, g: torch._weight_norm(v, g, 0), (normal(4), normal(4))),
        "weight_norm, within": (lambda v, g: torch._weight_norm(v, g, 1), (normal(4, 3, 2), normal(1, 3, 1))),
        "weight_norm, of the whole": (lambda v, g: torch._weight_norm(v, g, -1), (normal(4, 3), normal(1))),
    }


def first(found: tuple[Tensor, ...]) -> Tensor:
    return found[0]


def pools() -> dict[str, Call]:
    image, row, cube = normal(1, 2, 6, 6), normal(1, 2, 6), normal(1, 2, 4, 4, 4)
    drawn, thrice = torch.rand(1, 2, 2, dtype=torch.float64), torch.rand(1, 2, 3, dtype=torch.float64)

    def unpooled(dimensions: int, x: Tensor) -> Tensor:
        found, places = getattr(F, f"max_pool{dimensions}d")(x, 2, return_indices=True)
        return getattr(F, f"max_unpool{dimensions}d")(found, places, 2)

    return {
        "adaptive_avg_pool1d": (partial(F.adaptive_avg_pool1d, output_size=4), (row,)),
        "adaptive_avg_pool2d": (partial(F.adaptive_avg_pool2d, output_size=4), (image,)),
        "adaptive_avg_pool3d": (partial(F.adaptive_avg_pool3d, output_size=3), (cube,)),
        "adaptive_max_pool1d": (partial(F.adaptive_max_pool1d, output_size=4), (row,)),
        "adaptive_max_pool2d": (partial(F.adaptive_max_pool2d, output_size=4), (image,)),
        "adaptive_max_pool3d": (partial(F.adaptive_max_pool3d, output_size=3), (cube,)),
        "avg_pool1d": (partial(F.avg_pool1d, kernel_size=3), (row,)),
        "avg_pool2d": (partial(F.avg_pool2d, kernel_size=3, stride=2, padding=1), (image,)),
        "avg_pool3d": (partial(F.avg_pool3d, kernel_size=2), (cube,)),
        "fractional_max_pool2d": (
            partial(F.fractional_max_pool2d, kernel_size=2, output_size=3, _random_samples=drawn),
            (image,),
        ),
        "fractional_max_pool3d": (
            partial(F.fractional_max_pool3d, kernel_size=2, output_size=2, _random_samples=thrice),
            (cube,),
        ),
        "lp_pool3d": (lambda x: F.lp_pool3d(x, 3, 2), (positive(1, 2, 4, 4, 4),)),
        "lp_pool1d": (lambda x: F.lp_pool1d(x, 3, 2), (positive(1, 2, 6),)),
        "lp_pool2d": (lambda x: F.lp_pool2d(x, 3, 2), (positive(1, 2, 4, 4),)),
        "max_pool1d": (partial(F.max_pool1d, kernel_size=2), (row,)),
        "max_pool2d": (partial(F.max_pool2d, kernel_size=3, stride=2, padding=1), (image,)),
        "max_pool3d": (partial(F.max_pool3d, kernel_size=2), (cube,)),
        "max_unpool1d": (partial(unpooled, 1), (row,)),
        "max_unpool2d": (partial(unpooled, 2), (image,)),
        "max_unpool3d": (partial(unpooled, 3), (cube,)),
        **{
            f"interpolate, {mode}": (partial(F.interpolate, scale_factor=1.5, mode=mode), (x,))
            for mode, x in {
                "nearest": image,
                "nearest-exact": image,
                "linear": row,
                "bilinear": image,
                "bicubic": image,
                "trilinear": cube,
                "area": image,
            }.items()
        },
        "interpolate, smoothed": (
            lambda x: F.interpolate(x, size=(4, 4), mode="bicubic", antialias=True, align_corners=False),
            (image,),
        ),
    }


def networks() -> dict[str, Call]:
    sequence, state = normal(3, 2, 4), normal(2, 3)
    wide, words = nn.Linear(4, 3).double(), torch.tensor([0, 3, 5])
    options = {"dropout": 0.0, "dim_feedforward": 6, "batch_first": True}
    softmax = nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4], div_value=1.0)
    softmax.forward = partial(softmax.forward, target_=words)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated
        old = nn.utils.weight_norm(nn.Conv1d(4, 3, 2), dim=2)

    def normed(name: str, **more: str) -> Call:
        return module(getattr(nn.utils.parametrizations, name)(nn.Linear(4, 3).double(), **more), normal(5, 4))

    return {
        "RNN": module(nn.RNN(4, 3), sequence, read=first),
        "RNN, relu": module(nn.RNN(4, 3, nonlinearity="relu"), sequence, read=first),
        "GRU": module(nn.GRU(4, 3, bidirectional=True), sequence, read=first),
        "LSTM": module(nn.LSTM(4, 3, num_layers=2), sequence, read=first),
        "LSTM, projected": module(nn.LSTM(4, 3, proj_size=2), sequence, read=first),
        "RNNCell": module(nn.RNNCell(4, 3), normal(2, 4), state),
        "GRUCell": module(nn.GRUCell(4, 3), normal(2, 4), state),
        "LSTMCell": module(nn.LSTMCell(4, 3), normal(2, 4), read=first),
        "TransformerEncoderLayer": module(nn.TransformerEncoderLayer(4, 2, **options), normal(1, 3, 4)),
        "TransformerDecoderLayer": module(
            nn.TransformerDecoderLayer(4, 2, **options, activation="gelu"), normal(1, 3, 4), normal(1, 2, 4)
        ),
        "MultiheadAttention": module(nn.MultiheadAttention(4, 2), *(normal(3, 2, 4) for _ in "qkv"), read=first),
        "AdaptiveLogSoftmaxWithLoss": module(softmax, normal(3, 4), read=lambda out: out.loss),
        "CrossMapLRN2d": module(nn.CrossMapLRN2d(3), normal(1, 4, 3, 3)),
        "parametrizations.weight_norm": normed("weight_norm"),
        "utils.weight_norm": module(old, normal(1, 4, 3)),
        "parametrizations.spectral_norm": normed("spectral_norm"),
        "orthogonal, by exponential": normed("orthogonal", orthogonal_map="matrix_exp"),
        "orthogonal, by Cayley": normed("orthogonal", orthogonal_map="cayley"),
        "checkpoint": (
            lambda x: checkpoint(lambda t: F.gelu(wide(t)).tanh(), x, use_reentrant=False),
            (normal(5, 4),),
        ),
    }


def fused() -> dict[str, Call]:
    """Functions that only some versions of torch have."""
    words = torch.tensor([0, 2, 1, 0])
    if not hasattr(F, "linear_cross_entropy"):
        return {}
    chunks = nn.LinearCrossEntropyOptions(chunking_method="auto", batch_chunk_size=2, allow_retain_graph=True)
    return {
        "linear_cross_entropy": (lambda x, w: F.linear_cross_entropy(x, w, words), (normal(4, 3), normal(3, 3))),
        "linear_cross_entropy, in chunks": (
            lambda x, w: F.linear_cross_entropy(x, w, words, options=chunks),
            (normal(4, 3), normal(3, 3)),
        ),
    }
