"""Random small models: stacks of layers that keep the shape of their family, and a head with three outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from . import layers as own

Layer = Callable[[], nn.Module]

WIDTH, CLASSES, TOKENS = 6, 3, 7
VECTORS, IMAGES, SIGNALS, SEQUENCES, TEXTS = "vectors", "images", "signals", "sequences", "texts"
SHAPES: Mapping[str, tuple[int, ...]] = {
    VECTORS: (12, WIDTH),
    IMAGES: (6, 4, 6, 6),
    SIGNALS: (8, 4, 8),
    SEQUENCES: (8, 5, WIDTH),
    TEXTS: (8, 5),
}

ACTIVATIONS: Mapping[str, Layer] = {
    "Tanh": nn.Tanh,
    "Sigmoid": nn.Sigmoid,
    "GELU": nn.GELU,
    "GELU tanh": lambda: nn.GELU("tanh"),
    "SiLU": nn.SiLU,
    "Mish": nn.Mish,
    "ELU": nn.ELU,
    "CELU": lambda: nn.CELU(0.7),
    "SELU": nn.SELU,
    "Softplus": nn.Softplus,
    "LogSigmoid": nn.LogSigmoid,
    "Softsign": nn.Softsign,
    "Tanhshrink": nn.Tanhshrink,
    "ReLU": nn.ReLU,
    "ReLU in place": lambda: nn.ReLU(inplace=True),
    "ReLU6": nn.ReLU6,
    "LeakyReLU": lambda: nn.LeakyReLU(0.1),
    "PReLU": nn.PReLU,
    "RReLU": nn.RReLU,
    "Hardtanh": nn.Hardtanh,
    "Hardswish": nn.Hardswish,
    "Hardsigmoid": nn.Hardsigmoid,
    "Softshrink": lambda: nn.Softshrink(0.2),
    "Hardshrink": lambda: nn.Hardshrink(0.2),
    "Threshold": lambda: nn.Threshold(-0.1, 0.0),
    "ScaledGELU": own.ScaledGELU,
    "sin": lambda: own.Function(torch.sin),
    "F.dropout": lambda: own.Function(lambda x, training: F.dropout(x, 0.2, training), training=True),
    "Dropout": lambda: nn.Dropout(0.2),
    "AlphaDropout": lambda: nn.AlphaDropout(0.1),
}

_VECTORS: Mapping[str, Layer] = {
    "Linear": lambda: nn.Linear(WIDTH, WIDTH),
    "Linear without bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    "Bilinear": lambda: own.SelfBilinear(WIDTH),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH)),
    "GLU": lambda: own.Gated(nn.Linear(WIDTH, 2 * WIDTH), -1),
    "residual": lambda: own.Residual(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))),
    "BatchNorm1d": lambda: nn.BatchNorm1d(WIDTH),
    "BatchNorm1d plain": lambda: nn.BatchNorm1d(WIDTH, affine=False),
    "BatchNorm1d averaging": lambda: nn.BatchNorm1d(WIDTH, momentum=None),
    "BatchNorm1d of the batch": lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False),
    "BatchNorm1d by keyword": lambda: own.Keyword(nn.BatchNorm1d(WIDTH)),
    "TanhNorm": lambda: own.TanhNorm(WIDTH),
    "ShiftedNorm": lambda: own.ShiftedNorm(WIDTH),
    "F.batch_norm": lambda: own.OwnStatistics(WIDTH),
    "running scale": own.RunningScale,
    "LayerNorm": lambda: nn.LayerNorm(WIDTH),
    "LayerNorm by keyword": lambda: own.Keyword(nn.LayerNorm(WIDTH)),
    "CentredNorm": lambda: own.CentredNorm(WIDTH),
    "F.layer_norm": lambda: own.Function(lambda x: F.layer_norm(x, (WIDTH,))),
    "GroupNorm": lambda: nn.GroupNorm(2, WIDTH),
    "ResidualGroupNorm": lambda: own.ResidualGroupNorm(3, WIDTH),
    "RMSNorm": lambda: nn.RMSNorm(WIDTH),
    "RMSNorm by hand": lambda: own.HandRMSNorm(WIDTH),
    "F.normalize": lambda: own.Function(lambda x: 2 * F.normalize(x, dim=-1)),
    "Softmax": lambda: nn.Softmax(-1),
    "LogSoftmax": lambda: nn.LogSoftmax(-1),
    "cosine similarity": lambda: own.Prototypes(WIDTH, lambda a, b: F.cosine_similarity(a, b, dim=-1)),
    "pairwise distance": lambda: own.Prototypes(WIDTH, lambda a, b: (a - b).norm(dim=-1)),
    "cdist": lambda: own.Prototypes(WIDTH, lambda a, b: torch.cdist(a[:, 0], b[0])),
    "FeatureAlphaDropout": lambda: own.Function(
        lambda x, training: F.feature_alpha_dropout(x, 0.1, training), training=True
    ),
}

_IMAGES: Mapping[str, Layer] = {
    "Conv2d": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "Conv2d reflecting": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    "Conv2d circular": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    "Conv2d replicating": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate", bias=False),
    "Conv2d in groups": lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 4, 3, padding=1),
    "Conv2d weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)),
    "Conv2d spectral_norm": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)),
    "residual convolution": lambda: own.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.SiLU())),
    "GLU of channels": lambda: own.Gated(nn.Conv2d(4, 8, 1), 1),
    "BatchNorm2d": lambda: nn.BatchNorm2d(4),
    "BatchNorm2d slow": lambda: nn.BatchNorm2d(4, momentum=0.3),
    "BatchNorm2d by keyword": lambda: own.Keyword(nn.BatchNorm2d(4)),
    "F.batch_norm": lambda: own.OwnStatistics(4),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(4, affine=True),
    "InstanceNorm2d tracking": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "GroupNorm by keyword": lambda: own.Keyword(nn.GroupNorm(2, 4)),
    "LocalResponseNorm": lambda: nn.LocalResponseNorm(2, alpha=0.5),
    "F.local_response_norm": lambda: own.Function(lambda x: F.local_response_norm(x, 3, alpha=0.3)),
    "LayerNorm of images": lambda: nn.LayerNorm((4, 6, 6)),
    "MaxPool2d": lambda: nn.MaxPool2d(3, 1, 1),
    "MaxPool2d and back": lambda: own.Pooled(nn.MaxPool2d(2), "nearest", (6, 6)),
    "AvgPool2d": lambda: nn.AvgPool2d(3, 1, 1),
    "AdaptiveAvgPool2d and back": lambda: own.Pooled(nn.AdaptiveAvgPool2d(3), "bilinear", (6, 6)),
    "AdaptiveMaxPool2d and back": lambda: own.Pooled(nn.AdaptiveMaxPool2d(2), "bicubic", (6, 6)),
    "LPPool2d and back": lambda: own.Pooled(nn.Sequential(nn.Softplus(), nn.LPPool2d(2, 2)), "nearest-exact", (6, 6)),
    "MaxUnpool2d": own.Unpooled,
    "grid_sample": own.Warped,
    "unfold and fold": lambda: own.Patches(4, (6, 6)),
    "PixelShuffle": lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2)),
    "ChannelShuffle": lambda: nn.ChannelShuffle(2),
    "ReflectionPad2d": lambda: nn.Sequential(nn.ReflectionPad2d(1), nn.AvgPool2d(3, 1)),
    "Softmax2d": nn.Softmax2d,
    "Dropout2d": lambda: nn.Dropout2d(0.2),
}

_SIGNALS: Mapping[str, Layer] = {
    "Conv1d": lambda: nn.Conv1d(4, 4, 3, padding=1),
    "Conv1d in groups": lambda: nn.Conv1d(4, 4, 3, padding=1, groups=4),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 4, 3, padding=1),
    "Conv1d weight_norm": lambda: parametrizations.weight_norm(nn.Conv1d(4, 4, 1)),
    "BatchNorm1d": lambda: nn.BatchNorm1d(4),
    "ShiftedNorm": lambda: own.ShiftedNorm(4),
    "F.batch_norm": lambda: own.OwnStatistics(4),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(4),
    "InstanceNorm1d tracking": lambda: nn.InstanceNorm1d(4, track_running_stats=True),
    "F.instance_norm": lambda: own.Function(F.instance_norm),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "MaxPool1d": lambda: nn.MaxPool1d(3, 1, 1),
    "AvgPool1d": lambda: nn.AvgPool1d(3, 1, 1),
    "LPPool1d": lambda: nn.Sequential(nn.Softplus(), nn.LPPool1d(2, 2, 1), nn.ReplicationPad1d((0, 1))),
    "AdaptiveMaxPool1d and back": lambda: own.Pooled(nn.AdaptiveMaxPool1d(4), "linear", (8,)),
    "GLU": lambda: own.Gated(nn.Conv1d(4, 8, 1), 1),
    "Dropout1d": lambda: nn.Dropout1d(0.2),
    "fft": lambda: own.Function(lambda x: torch.fft.irfft(torch.fft.rfft(x) * 0.5, x.shape[-1]).tanh()),
    "cumsum": lambda: own.Function(lambda x: x.cumsum(-1) / 8),
}

_HEADS = 2
_SEQUENCES: Mapping[str, Layer] = {
    "GRU": lambda: own.Recurrent(nn.GRU(WIDTH, WIDTH, batch_first=True)),
    "GRU both ways": lambda: own.Recurrent(nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)),
    "LSTM": lambda: own.Recurrent(nn.LSTM(WIDTH, WIDTH, batch_first=True)),
    "LSTM of two layers": lambda: own.Recurrent(nn.LSTM(WIDTH, WIDTH, 2, batch_first=True, dropout=0.2)),
    "LSTM projecting": lambda: own.Recurrent(nn.LSTM(WIDTH, 8, batch_first=True, proj_size=WIDTH)),
    "RNN": lambda: own.Recurrent(nn.RNN(WIDTH, WIDTH, batch_first=True)),
    "RNN of ReLU": lambda: own.Recurrent(nn.RNN(WIDTH, WIDTH, batch_first=True, nonlinearity="relu")),
    "GRUCell": lambda: own.Celled(nn.GRUCell(WIDTH, WIDTH)),
    "LSTMCell": lambda: own.Celled(nn.LSTMCell(WIDTH, WIDTH)),
    "RNNCell": lambda: own.Celled(nn.RNNCell(WIDTH, WIDTH)),
    "MultiheadAttention": lambda: own.SelfAttention(nn.MultiheadAttention(WIDTH, _HEADS, batch_first=True)),
    "MultiheadAttention, weights unasked": lambda: own.SelfAttention(
        nn.MultiheadAttention(WIDTH, _HEADS, batch_first=True), need_weights=False
    ),
    "MultiheadAttention by keyword": lambda: own.SelfAttention(
        nn.MultiheadAttention(WIDTH, _HEADS, batch_first=True), keyword=True, need_weights=False
    ),
    "MultiheadAttention dropping": lambda: own.SelfAttention(
        nn.MultiheadAttention(WIDTH, _HEADS, dropout=0.2, batch_first=True), need_weights=False
    ),
    "MultiheadAttention with biases": lambda: own.SelfAttention(
        nn.MultiheadAttention(WIDTH, _HEADS, add_bias_kv=True, add_zero_attn=True, batch_first=True)
    ),
    "DoubledAttention": lambda: own.SelfAttention(own.DoubledAttention(WIDTH, _HEADS, batch_first=True)),
    "F.scaled_dot_product_attention": lambda: own.ScaledDotProduct(WIDTH, causal=False),
    "F.scaled_dot_product_attention, causal": lambda: own.ScaledDotProduct(WIDTH, causal=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(WIDTH, _HEADS, 8, 0.0, "gelu", batch_first=True),
    "TransformerEncoderLayer dropping": lambda: nn.TransformerEncoderLayer(
        WIDTH, _HEADS, 8, 0.1, "gelu", batch_first=True, norm_first=True
    ),
    "TransformerEncoderLayer of ReLU": lambda: nn.TransformerEncoderLayer(WIDTH, _HEADS, 8, 0.0, batch_first=True),
    "TransformerDecoderLayer": lambda: own.Decoded(
        nn.TransformerDecoderLayer(WIDTH, _HEADS, 8, 0.0, "gelu", batch_first=True)
    ),
    "BatchNorm1d of features": lambda: own.Swapped(nn.BatchNorm1d(WIDTH)),
    "Conv1d of features": lambda: own.Swapped(nn.Conv1d(WIDTH, WIDTH, 3, padding=1)),
    "Linear": lambda: nn.Linear(WIDTH, WIDTH),
    "LayerNorm": lambda: nn.LayerNorm(WIDTH),
    "LayerNorm by keyword": lambda: own.Keyword(nn.LayerNorm(WIDTH)),
    "RMSNorm": lambda: nn.RMSNorm(WIDTH),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)),
}

EMBEDDINGS: Mapping[str, Layer] = {
    "Embedding": lambda: nn.Embedding(TOKENS, WIDTH),
    "Embedding padded": lambda: nn.Embedding(TOKENS, WIDTH, padding_idx=0),
    "Embedding by frequency": lambda: nn.Embedding(TOKENS, WIDTH, scale_grad_by_freq=True),
    "Embedding of bounded norm": lambda: nn.Embedding(TOKENS, WIDTH, max_norm=1.5),
    "Embedding sparse": lambda: nn.Embedding(TOKENS, WIDTH, sparse=True),
    "EmbeddingBag sum": lambda: own.Bags(TOKENS, WIDTH, mode="sum"),
    "EmbeddingBag mean": lambda: own.Bags(TOKENS, WIDTH, mode="mean"),
    "EmbeddingBag max": lambda: own.Bags(TOKENS, WIDTH, mode="max"),
    "F.one_hot": lambda: own.OneHot(TOKENS, WIDTH),
}

BLOCKS: Mapping[str, Mapping[str, Layer]] = {
    VECTORS: _VECTORS,
    IMAGES: _IMAGES,
    SIGNALS: _SIGNALS,
    SEQUENCES: _SEQUENCES,
    TEXTS: _SEQUENCES,
}


def drawn(rng: np.random.Generator) -> tuple[str, tuple[str, ...]]:
    """A family, and the names of some of its layers: where it is text, an embedding first."""
    family = str(rng.choice([VECTORS, VECTORS, IMAGES, IMAGES, SIGNALS, SEQUENCES, SEQUENCES, TEXTS]))
    blocks = [str(name) for name in rng.choice(sorted(BLOCKS[family]), size=rng.integers(1, 4))]
    names = []
    for block in blocks:
        names.append(block)
        if rng.random() < 0.6:
            names.append(str(rng.choice(sorted(ACTIVATIONS))))
    first = [str(rng.choice(sorted(EMBEDDINGS)))] if family == TEXTS else []
    return family, (*first, *names)


def built(family: str, names: Sequence[str]) -> nn.Sequential:
    """The model: a layer that depends on parameters, those named, a head."""
    made: list[nn.Module] = []
    names = list(names)
    if family == TEXTS:
        made.append(EMBEDDINGS[names.pop(0)]())
    else:
        made.append(_stem(family))
    made += [(BLOCKS[family].get(name) or ACTIVATIONS[name])() for name in names]
    return nn.Sequential(*made, *_head(family))


def _stem(family: str) -> nn.Module:
    if family == IMAGES:
        return nn.Conv2d(4, 4, 3, padding=1)
    return nn.Conv1d(4, 4, 3, padding=1) if family == SIGNALS else nn.Linear(WIDTH, WIDTH)


def _head(family: str) -> list[nn.Module]:
    if family == VECTORS:
        return [nn.Linear(WIDTH, CLASSES)]
    if family == IMAGES:
        return [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, CLASSES)]
    if family == SIGNALS:
        return [nn.Flatten(), nn.Linear(32, CLASSES)]
    return [own.Function(lambda x: x.mean(1)), nn.Linear(WIDTH, CLASSES)]


def inputs(family: str, generator: torch.Generator) -> Tensor:
    """A batch's inputs, in double precision or as tokens."""
    shape = SHAPES[family]
    if family == TEXTS:
        return torch.randint(TOKENS, shape, generator=generator)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def labels(x: Tensor) -> Tensor:
    """Which third of an input is the largest."""
    thirds = x.double().flatten(1)[:, : 3 * (x[0].numel() // 3)].unflatten(1, (3, -1))
    return thirds.mean(2).argmax(1)
